import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml

from ssl_swin.__main__ import run
from ssl_swin.config.data import LabelledDataConfig
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.settings import flatten
from ssl_swin.errors import UserError
from ssl_swin.files import sha256_of
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.card import EncoderCard, read_encoder, write_encoder
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.encoder_numbers import with_its_numbers
from ssl_swin.runs.from_encoder import (
    fingerprint,
    require_same_encoder,
    with_its_model,
)
from ssl_swin.training.checkpoint_file import read_checkpoint, write_checkpoint
from tests.cluster.bin import write_programs
from tests.conftest import TINY_MODEL
from tests.pretrained.timm_cache import fill, without_network

NAME = "vit_tiny_patch16_224"


@pytest.fixture
def encoder(trained):
    """A run folder that holds an encoder of grey images."""
    return trained[1]


def config(encoder, **data):
    data = LabelledDataConfig("shards", **{"rand_augment": "", **data})
    return FinetuneConfig("run", data, 10, encoder and str(encoder))


def stored(begun, with_sum=True):
    """What a checkpoint says of a run."""
    return {"config": flatten(begun)} | ({"encoder": fingerprint(begun)} if with_sum else {})


def change(folder):
    path = RunFolder(folder).encoder
    content = bytearray(path.read_bytes())
    content[-4] ^= 1  # a weight, in its last bit
    path.write_bytes(content)


def test_the_same_file_elsewhere_is_the_same_encoder(encoder, tmp_path):
    state = stored(config(encoder))
    require_same_encoder(state, config(RunFolder(encoder).encoder))
    moved = encoder.rename(tmp_path / "moved")
    require_same_encoder(state, config(encoder))  # gone
    require_same_encoder(state, config(moved))
    require_same_encoder(state, config(RunFolder(moved).encoder.rename(tmp_path / "b.safetensors")))


def test_the_same_weights_in_another_file_are_the_same_encoder(encoder):
    """As where the file was lost, and a newer release wrote it again; 0.3 knew the whole file."""
    state, path = stored(config(encoder)), RunFolder(encoder).encoder
    as_in_0_3 = state | {"encoder": sha256_of(path)}
    require_same_encoder(as_in_0_3, config(encoder))
    weights, before = read_encoder(path), path.read_bytes()
    write_encoder(path, weights.state, replace(weights.card, commit="another"))
    assert path.read_bytes() != before
    require_same_encoder(state, config(encoder))
    with pytest.raises(UserError, match="whose file was another one"):
        require_same_encoder(as_in_0_3, config(encoder))


def test_a_name_of_timms_is_the_same_encoder_whatever_its_cache_holds(tmp_path, monkeypatch):
    without_network(monkeypatch, tmp_path)
    _, file = fill(tmp_path, NAME)
    state = stored(config(f"timm:{NAME}"))
    assert state["encoder"] == fingerprint(config(file))
    for same in (f"timm:{NAME}", NAME, file, f"timm:{NAME}:{file}"):
        require_same_encoder(state, config(same))
    with pytest.raises(UserError, match="the run began with encoder='timm:vit_tiny_patch16_224'"):
        require_same_encoder(state, config("timm:vit_tiny_patch16_384"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    require_same_encoder(state, config(f"timm:{NAME}"))
    with pytest.raises(UserError, match="whose file was another one"):
        require_same_encoder(state, config(file))
    file.unlink()
    require_same_encoder(state, config(f"timm:{NAME}"))
    with pytest.raises(UserError, match="the run began with encoder="):
        require_same_encoder(state, config(f"timm:{NAME}.augreg_in21k"))


def test_another_file_is_another_encoder_in_the_old_place_too(encoder, tmp_path):
    state = stored(config(encoder))
    shutil.copytree(encoder, tmp_path / "other")
    for folder in (tmp_path / "other", encoder):
        change(folder)
        with pytest.raises(UserError, match=r"the run began with encoder=.*was another one \(SHA"):
            require_same_encoder(state, config(folder))
    for none_there in (None, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="the run began with encoder="):
            require_same_encoder(state, config(none_there))
    with pytest.raises(UserError, match="the run began with encoder=None, this config says"):
        require_same_encoder(stored(config(None)), config(encoder))


def test_where_the_sum_is_not_known_paths_are_compared(encoder, tmp_path):
    state = stored(config(encoder), with_sum=False)
    change(encoder)
    require_same_encoder(state, config(encoder))
    shutil.copytree(encoder, tmp_path / "other")
    with pytest.raises(UserError, match="the run began with encoder="):
        require_same_encoder(state, config(tmp_path / "other"))


def stop(folder, **facts):
    """Let a run be one that was stopped after its first step, and say other things of it."""
    folder.summary.unlink(missing_ok=True)
    write_checkpoint(folder.last, read_checkpoint(folder.last) | {"step": 1} | facts)


@pytest.fixture
def tuned(encoder, tiny_shards, tmp_path, monkeypatch):
    """A fine-tuning that was stopped after one step of two: its arguments and its folder."""
    content = yaml.safe_load(Path("configs/finetune/demo.yaml").read_text())
    del content["data"]["mean"], content["data"]["std"]
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(content))
    arguments = [
        *("finetune", str(tmp_path / "tune.yaml"), f"--run-dir={tmp_path / 'tuned'}"),
        *(f"--data.shards={tiny_shards([9, 7])}", "--data.val-shards=null"),
        *("--data.num-labels=null", "--optim.epochs=1", "--optim.warmup-epochs=0"),
        *("--training.global-batch-size=8", f"--encoder={encoder}", *TINY_MODEL),
    ]
    assert run(["shards", "index", arguments[3].partition("=")[2]]) == 0
    assert run(arguments) == 0
    folder = RunFolder(tmp_path / "tuned")
    stop(folder)
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")
    return arguments, folder


def test_a_run_goes_on_without_its_encoder(tuned, encoder, tmp_path, capsys):
    arguments, folder = tuned
    content = yaml.safe_load(folder.config.read_text())
    assert (content["data"]["mean"], content["data"]["std"]) == ([0.286], [0.353])
    moved = encoder.rename(tmp_path / "moved")
    for encoder_then in ([], [f"--encoder={moved}"]):
        assert run(["submit", *arguments, *encoder_then, "--dry-run"]) == 0
        assert run([*arguments, *encoder_then]) == 0
        stop(folder)
    assert yaml.safe_load(folder.config.read_text())["encoder"] == str(moved)
    change(moved)
    wrong = [*arguments, f"--encoder={moved}"]
    assert run(wrong) == run(["submit", *wrong]) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first == second
    assert "the run began with encoder=" in first
    shutil.rmtree(folder.last.parent)
    assert run(wrong) == 1  # its storage is away
    folder.checkpoints.unlink()  # it begins with the file that is there
    assert run(wrong) == 0
    assert read_checkpoint(folder.last)["encoder"] == fingerprint(config(moved))


def test_a_run_of_an_earlier_release_learns_the_sum_of_its_encoder(tuned, encoder):
    arguments, folder = tuned
    stop(folder, encoder=None)
    assert run(arguments) == 0
    assert read_checkpoint(folder.last)["encoder"] == fingerprint(config(encoder))


def model_of(encoder, **model):
    return replace(config(encoder, mean=(0.286,), std=(0.353,)), model=ModelConfig(**model))


def test_what_the_user_does_not_give_is_the_encoder_s(encoder):
    found, (line,) = with_its_model(model_of(encoder, drop_path_rate=0.1), ())
    model = found.model
    assert (model.name, model.img_size) == ("swin_tiny_patch4_window7_224", 32)
    assert (model.patch_size, model.window_size, model.embed_dim) == (4, 8, 16)
    assert (model.depths, model.num_heads, model.drop_path_rate) == ((1, 1), (1, 2), 0.1)
    assert line.startswith("model: name=swin_tiny_patch4_window7_224, img_size=32, ")
    assert line.endswith("num_heads=(1, 2), as the encoder")
    assert with_its_model(found, ()) == (found, ())


def test_another_size_than_the_encoder_s_is_refused_in_a_line(encoder):
    for size in ({"embed_dim": 24}, {"depths": (1, 2)}, {"patch_size": 2}, {"num_heads": (2, 4)}):
        ((name, value),) = size.items()
        said = rf"model\.{name}={re.escape(str(value))}, but the encoder has .*: leave it out; only"
        with pytest.raises(UserError, match=said):
            with_its_model(model_of(encoder, **size), ())
    rgb = replace(config(encoder), model=ModelConfig())
    with pytest.raises(UserError, match=r"has 3 values, but .* of 1 channels: .* encoder_channels"):
        with_its_model(rgb, ())


def test_other_channels_are_allowed_where_it_is_said_how(encoder):
    rgb = replace(config(encoder), model=ModelConfig(), encoder_channels="zero")
    found, _ = with_its_model(rgb, ())
    assert with_its_numbers(found, ("data.mean", "data.std"), None) == (found, ())
    for none_there in (replace(rgb, encoder=None), PretrainConfig("run", rgb.data, None, "zero")):
        with pytest.raises(UserError, match=r"encoder_channels=zero goes with (encoder|init), who"):
            with_its_model(none_there, ())


@pytest.mark.parametrize(
    ("img_size", "window_size", "said"),
    [
        (64, 16, "; window_size=16 for 64 px, as it has 8 for 32 px"),
        (24, 6, "; window_size=6 for 24 px, as it has 8 for 32 px"),
        (36, 9, "; window_size=9 for 36 px"),
        (30, 8, "; window_size=8 as for its 32 px"),
    ],
)
def test_the_window_follows_the_size_of_images_where_it_comes_out_even(
    encoder, img_size, window_size, said
):
    found, (line,) = with_its_model(model_of(encoder, img_size=img_size), ())
    assert found.model.window_size == window_size
    assert said in line
    own, _ = with_its_model(model_of(encoder, img_size=img_size, window_size=5), ())
    assert own.model.window_size == 5


@pytest.fixture
def a_swin(tmp_path):
    def write(**switches):
        sizes = {"window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
        swin = SwinEncoder("swin_tiny_patch4_window7_224", 32, 1, **sizes, **switches)
        path = tmp_path / "encoder.safetensors"
        write_encoder(path, swin.state_dict(), EncoderCard.of(swin, (0.286,), (0.353,)))
        return path

    return write


def test_the_window_of_an_mlp_stays_at_any_size_of_images(a_swin):
    found, (line,) = with_its_model(model_of(a_swin(mixer="mlp"), img_size=64), ())
    assert found.model.window_size == 4
    assert "; window_size=4 as for its 32 px" in line


@pytest.mark.parametrize(
    ("its", "asked", "said"),
    [
        ({}, {"shift": "none"}, "model.shift=none, but the encoder has cyclic"),
        ({}, {"mixer": "mlp"}, "model.mixer=mlp, but the encoder has attention"),
        ({"shift": "none"}, {"shift": "cyclic"}, "model.shift=cyclic, but the encoder has none"),
        ({"mixer": "mlp"}, {"padding": "masked"}, "but the encoder has attended"),
    ],
)
def test_another_switch_than_the_encoder_s_is_refused_in_a_line(a_swin, its, asked, said):
    with pytest.raises(UserError, match=said):
        with_its_model(model_of(a_swin(**its), **asked), ())


def test_files_without_a_card_say_their_sizes_themselves(tmp_path):
    sizes = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, img_size=32, **sizes)
    torch.save(swin.state_dict(), tmp_path / "swin.pth")
    asked = replace(config(tmp_path / "swin.pth"), model=ModelConfig(drop_path_rate=0.1))
    asked = replace(asked, data=LabelledDataConfig("shards"))
    found, _ = with_its_model(asked, ())
    assert (found.model.embed_dim, found.model.depths, found.model.img_size) == (16, (1, 1), 32)


def test_another_name_stands_for_its_own_sizes(encoder):
    found, _ = with_its_model(model_of(encoder, name="swin_small_patch4_window7_224"), ())
    assert (found.model.name, found.model.depths) == ("swin_small_patch4_window7_224", None)
