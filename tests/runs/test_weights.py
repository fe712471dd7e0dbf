"""Pretraining that begins with weights of an encoder, `init`."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from ssl_swin.__main__ import run
from ssl_swin.config.model import ModelConfig
from ssl_swin.errors import UserError
from ssl_swin.pretrained.open import find_weights
from ssl_swin.pretrained.timm import to_timm
from ssl_swin.record.loaded import read_loaded
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.runs.build import build
from ssl_swin.training.checkpoint_file import read_checkpoint
from tests.cluster.bin import write_programs
from tests.training.launch import RGB, pretrain_config

FEW = ("--training.num-threads=1", "--data.num-workers=0", "--optim.epochs=1")


@pytest.fixture
def words(trained, tiny_shards, tmp_path):
    """Arguments of a pretraining of two steps that begins with the encoder of another."""
    content = yaml.safe_load(Path("configs/pretrain/demo.yaml").read_text())
    del content["model"], content["data"]["mean"], content["data"]["std"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    shards = tiny_shards([8, 8])
    assert run(["shards", "index", str(shards)]) == 0
    return [
        *("pretrain", str(tmp_path / "own.yaml"), f"--data.shards={shards}"),
        *("--data.val-shards=null", "--optim.warmup-epochs=0", "--training.global-batch-size=8"),
        *("--training.checkpoint-every-steps=1", "--data.crop-pct=1", *FEW),
        f"--init={trained[1]}",
    ]


def weights(folder):
    return read_checkpoint(RunFolder(folder).last)["model"]


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_run_killed_between_its_steps_ends_as_if_it_was_not_and_needs_no_file(
    words, trained, tmp_path, capsys
):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert run([*words, f"--run-dir={straight}"]) == 0
    first, encoder = RunFolder(straight), trained[1]
    said = capsys.readouterr().out
    assert f"{encoder}: an encoder with its card" in said
    assert f"  began with  {encoder}: " in said
    assert read_loaded(first).source == str(encoder)
    assert read_summary(first).start == str(encoder)
    config = yaml.safe_load(first.config.read_text())
    assert (config["model"]["embed_dim"], config["model"]["img_size"]) == (16, 32)
    assert config["data"]["mean"] == [0.286]
    assert read_checkpoint(first.previous)["step"] == 1
    RunFolder(killed).last.parent.mkdir(parents=True)
    shutil.copy(first.previous, RunFolder(killed).last)
    encoder.rename(tmp_path / "away")
    assert run([*words, f"--run-dir={killed}"]) == 0
    assert_equal(weights(killed), weights(straight))
    other = bytearray(RunFolder(tmp_path / "away").encoder.read_bytes())
    other[-4] ^= 1  # a weight, in its last bit
    RunFolder(encoder).encoder.parent.mkdir()
    RunFolder(encoder).encoder.write_bytes(other)
    capsys.readouterr()
    assert run([*words, f"--run-dir={killed}"]) == 2
    assert "the run began with init=" in capsys.readouterr().err


@pytest.fixture
def theirs(two_step_run, tmp_path):
    """A file of timm's weights, which has no card and no mask token, and those weights as ours."""
    found = find_weights(two_step_run[1]).state
    torch.save({"state_dict": to_timm(found)}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth", found


@pytest.mark.parametrize("implementation", ["ssl_swin", "timm"])
def test_what_a_file_lacks_begins_as_without_it(theirs, tiny_shards, tmp_path, implementation):
    plain = pretrain_config(tmp_path / "begun", tiny_shards([30]))
    model = replace(plain.model, window_size=8, depths=(1, 1), implementation=implementation)
    plain = replace(plain, model=model)
    module, drawn = (build(one).module for one in (replace(plain, init=str(theirs[0])), plain))
    assert module.loaded["missing"] == ("mask_token",)
    assert drawn.loaded is None
    ours, before = module.network.state_dict(), drawn.network.state_dict()
    assert ours.keys() == before.keys()
    for name, value in ours.items():
        inside = name.removeprefix("encoder.")
        is_learned = inside in theirs[1] and inside != "mask_token"
        assert torch.equal(value, theirs[1][inside] if is_learned else before[name]), name
    assert not torch.equal(ours["encoder.mask_token"], theirs[1]["mask_token"])
    assert any(name.startswith("decoder") for name in ours)


def test_channels_image_and_window_change_by_the_same_rules(theirs, tiny_shards, tmp_path):
    shards = tiny_shards([30], mode="RGB")
    config = pretrain_config(tmp_path / "begun", shards)
    data, model = replace(config.data, **RGB), ModelConfig(img_size=64)
    config = replace(config, init=str(theirs[0]), data=data, model=model)
    with pytest.raises(UserError, match=r"the encoder takes images of 1 channels: .*_channels="):
        build(config)
    run = build(replace(config, encoder_channels="average"))
    model = run.config.model
    assert (model.embed_dim, model.depths, model.img_size, model.window_size) == (
        16,
        (1, 1),
        64,
        16,
    )
    name = "backbone.patch_embed.proj.weight"
    found = run.encoder.state_dict()[name]
    torch.testing.assert_close(found, (theirs[1][name] / 3).expand(-1, 3, -1, -1))
    assert run.module.loaded["resized"]
    with pytest.raises(UserError, match=r"model.embed_dim=24, but the encoder has 16: leave it"):
        build(replace(config, encoder_channels="average", model=replace(model, embed_dim=24)))


def test_bad_paths_are_refused_in_one_line_before_anything_is_written(
    words, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")
    (tmp_path / "text").write_text("no weights")
    (tmp_path / "empty").mkdir()
    whole = RunFolder(trained[1]).encoder.read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(whole[: len(whole) // 2])
    folder = tmp_path / "begun"
    for place, said in (
        ("nowhere", "no encoder weights at"),
        ("empty", "no encoder weights at"),
        ("text", "is of an unknown kind"),
        ("torn.safetensors", "is not a complete safetensors file"),
    ):
        for command in ([], ["--dry-run"]):
            asked = [*words, f"--init={tmp_path / place}", f"--run-dir={folder}", *command]
            assert run(asked) == 2
            (line,) = capsys.readouterr().err.splitlines()[-1:]
            assert line.startswith("error: ")
            assert f"error: init={tmp_path / place}: " in line
            assert said in line
    for place in ("nowhere", "empty"):
        asked = ["submit", *words, f"--init={tmp_path / place}", f"--run-dir={folder}", "--dry-run"]
        assert run(asked) == 2
        assert f"--init {tmp_path / place}: the" in capsys.readouterr().err
    assert run(["submit", *words, f"--run-dir={folder}", "--dry-run"]) == 0
    assert "\n  init: " in capsys.readouterr().out
    assert not RunFolder(folder).last.exists()
