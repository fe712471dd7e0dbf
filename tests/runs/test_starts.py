"""Every kind of weights as a start of pretraining: what the run has of them, and what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
import webdataset
import yaml
from torchvision.models import SwinTransformer

from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.config.model import MaskConfig, ModelConfig
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.pretrained.named import find_any
from ssl_swin.pretrained.official import to_official
from ssl_swin.pretrained.timm_vit import in_beit
from ssl_swin.record.loaded import read_loaded
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.build import build
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_simmim
from tests.data.pixels.test_array_files import npy
from tests.pretrained.test_mmpretrain import their_names
from tests.pretrained.timm_cache import fill, without_network
from tests.pretrained.version2 import official as official_v2
from tests.pretrained.version2 import shaken, torchvisions, transformer, v2
from tests.pretrained.vits import PRETRAINED, vit
from tests.training.launch import pretrain_config

SIZES = {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
OF_OTHERS = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
SWIN, VIT = "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"
HALF = (0.5, 0.5, 0.5)


def swin(in_chans=3, **change):
    return shaken(SwinEncoder(SWIN, in_chans=in_chans, **(SIZES | change)))


def saved(state, folder, name="weights.pth"):
    torch.save(state, folder / name)
    return folder / name


def our_run(folder):
    encoder = swin()
    card = EncoderCard.of(encoder, HALF, HALF, samples_seen=9)
    write_encoder(RunFolder(folder).encoder, encoder.state_dict(), card)
    return folder


def our_classifier(folder):
    classifier = Classifier(swin(), 2)
    sizes = classifier.encoder.architecture()
    card = ClassifierCard(sizes, ("cat", "dog"), HALF, HALF, 32)
    write_classifier(RunFolder(folder).classifier, classifier.state_dict(), card)
    return RunFolder(folder).classifier


def our_tuning(folder):
    our_classifier(folder)
    return our_run(folder)  # as a fine-tuning leaves both


def supervised_official(folder):
    state = to_official(swin().state_dict())
    del state["mask_token"]
    return saved({"model": state | {"head.weight": torch.zeros(2, 32)}}, folder)


def official_simmim(folder):
    state = {f"encoder.{name}": one for name, one in to_official(swin().state_dict()).items()}
    return saved({"model": state | {"decoder.0.weight": torch.zeros(4)}, "epoch": 99}, folder)


def official_vit(folder):
    state = {
        f"encoder.{in_beit(name.removeprefix('backbone.'))}": one
        for name, one in vit(**PRETRAINED).state_dict().items()
    }
    return saved({"model": state | {"decoder.0.weight": torch.zeros(4)}}, folder)


def mmpretrain(folder):
    state = their_names(swin(depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)))
    del state["mask_token"]
    return saved({"state_dict": {f"backbone.{name}": one for name, one in state.items()}}, folder)


def transformers_simmim(folder):
    config = transformers.SwinConfig(image_size=32, encoder_stride=8, **OF_OTHERS)
    shaken(transformers.SwinForMaskedImageModeling(config)).save_pretrained(folder)
    beside = '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    (folder / "preprocessor_config.json").write_text(beside)
    return folder


def transformers_v2(folder):
    transformer("Swinv2Model").save_pretrained(folder)
    return folder


def official_simmim_v2(folder):
    return saved(official_v2(v2()), folder)


def torchvision_v2(folder):
    return saved(torchvisions().state_dict(), folder)


def supervised_torchvision(folder):
    return saved(shaken(SwinTransformer([4, 4], 16, [1, 1], [1, 2], [4, 4])).state_dict(), folder)


def supervised_timm(folder):
    return saved(shaken(timm.create_model(SWIN, num_classes=3, **SIZES)).state_dict(), folder)


def timms_name(folder):
    fill(folder, VIT)
    return f"timm:{VIT}"


def timms_name_and_file(folder):
    return f"timm:{VIT}:{saved(timm.create_model(VIT).state_dict(), folder)}"


# What writes it -> what it is called where it is told, and whether it has a mask token.
STARTS = {
    our_run: ("an encoder with its card", True),
    our_classifier: ("the encoder of a classifier, without its head", True),
    our_tuning: ("an encoder with its card", True),
    supervised_official: ("official Swin", False),
    official_simmim: ("official Swin", True),
    mmpretrain: ("mmpretrain's Swin", False),
    transformers_simmim: ("the Swin of transformers", True),
    supervised_torchvision: ("torchvision's Swin", False),
    supervised_timm: ("timm's Swin", False),
    timms_name: (f"timm's {VIT}.augreg_in21k_ft_in1k", False),
    timms_name_and_file: (f"timm's {VIT}, weights of ", False),
    official_simmim_v2: ("official Swin V2", True),
    transformers_v2: ("the Swin V2 of transformers", False),
    torchvision_v2: ("torchvision's Swin V2", False),
    official_vit: ("a ViT as SimMIM's official code and timm's BEiT have it", True),
}

FAST = (our_classifier, official_simmim, transformers_simmim)
# those always, the others where there is time
EACH = [one if one in FAST else pytest.param(one, marks=pytest.mark.slow) for one in STARTS]


@pytest.fixture
def written(request, tmp_path, monkeypatch):
    without_network(monkeypatch, tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    return str(request.param(tmp_path / "weights")), *STARTS[request.param]


@pytest.fixture
def plain(tiny_shards, tmp_path):
    """A pretraining on colour images whose network is its encoder's."""
    config = pretrain_config(tmp_path / "begun", tiny_shards([30], mode="RGB"))
    data = replace(config.data, mean=HALF, std=HALF, val_shards=None)
    return replace(config, data=data, model=ModelConfig(), mask=MaskConfig(mask_patch_size=16))


@pytest.mark.parametrize("written", EACH, indirect=True)
def test_a_run_has_the_weights_of_its_start_and_draws_what_that_lacks(written, plain, capsys):
    source, kind, has_token = written
    begun = build(replace(plain, init=source))
    state, theirs = begun.module.network.state_dict(), find_any(source).state
    for name, one in theirs.items():
        assert torch.equal(state[f"encoder.{name}"], one.float()), name
    drawn = build(replace(plain, model=begun.config.model)).module.network.state_dict()
    rest = {name for name in state if name.removeprefix("encoder.") not in theirs}
    assert all(torch.equal(state[name], drawn[name]) for name in rest)
    assert ("encoder.mask_token" in rest) == (not has_token)
    assert all(name.startswith("decoder") for name in rest - {"encoder.mask_token"})
    loaded, said = begun.module.loaded, capsys.readouterr().out
    assert (loaded["source"], loaded["missing"]) == (source, () if has_token else ("mask_token",))
    assert kind in loaded["kind"]
    assert f"{source}: {loaded['kind']}" in said
    assert ("  missing 1: mask_token, as it starts\n" in said) == (not has_token)


@pytest.mark.slow
@pytest.mark.parametrize("written", STARTS, indirect=True)
def test_on_the_command_line_it_takes_steps_and_a_fine_tuning_begins_with_it(
    written, tiny_shards, tmp_path
):
    source, kind, has_token = written
    shards = tiny_shards([16], mode="RGB")
    assert run(["shards", "index", str(shards)]) == 0
    own = {"data": {"shards": str(shards), "num_workers": 0, "crop_pct": 1.0}, "init": source}
    own |= {"mask": {"mask_patch_size": 16}, "optim": {"epochs": 1, "warmup_epochs": 0}}
    own |= {"training": {"global_batch_size": 8, "micro_batch_size": 8, "num_threads": 1}}
    own["training"] |= {"accelerator": "cpu", "monitor_every_epochs": 0}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    folder = RunFolder(tmp_path / "begun")
    assert run(["pretrain", str(tmp_path / "own.yaml"), f"--run-dir={folder.root}"]) == 0
    loaded = read_loaded(folder)
    assert (loaded.source, kind in loaded.kind) == (source, True)
    assert loaded.named["missing"] == ([] if has_token else ["mask_token"])
    del own["init"], own["mask"]
    own["data"] |= {"rand_augment": "", "erasing": 0.0}
    own |= {"encoder": str(folder.root), "num_classes": 10}
    del own["training"]["monitor_every_epochs"]
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(own))
    tuned = RunFolder(tmp_path / "tuned")
    assert run(["finetune", str(tmp_path / "tune.yaml"), f"--run-dir={tuned.root}"]) == 0
    assert read_loaded(tuned).source == str(folder.root)


def test_a_name_of_timms_is_needed_once(plain, tmp_path, monkeypatch, capsys):
    """Mean and deviation are timm's; a run that goes on asks neither cache nor network."""
    without_network(monkeypatch, tmp_path / "weights")
    timms_name(tmp_path / "weights")
    own = yaml.safe_load(Path("configs/pretrain/demo.yaml").read_text())
    for name in ("mean", "std", "val_shards", "labelled_shards"):
        own["data"].pop(name)
    own |= {"model": {"img_size": 32}, "mask": {"mask_patch_size": 16}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    shards = plain.data.shards
    assert run(["shards", "index", shards]) == 0
    words = ["pretrain", str(tmp_path / "own.yaml"), f"--data.shards={shards}"]
    words += ["--optim.epochs=1", "--training.global-batch-size=15", "--training.num-threads=1"]
    words += ["--training.checkpoint-every-steps=1", f"--run-dir={tmp_path / 'begun'}"]
    words += ["--optim.warmup-epochs=0", f"--init=timm:{VIT}"]
    assert run(words) == 0
    folder = RunFolder(tmp_path / "begun")
    begun = yaml.safe_load(folder.config.read_text())
    assert (begun["data"]["mean"], begun["model"]["embed_dim"]) == ([*HALF], 192)
    assert f"data.mean={HALF} and data.std={HALF}, as timm:{VIT} was tr" in capsys.readouterr().out
    without_network(monkeypatch, tmp_path / "nowhere")
    folder.previous.replace(folder.last)
    folder.summary.unlink()
    assert run(words) == 0
    assert "goes on from step 1" in capsys.readouterr().out
    assert run([*words, f"--run-dir={tmp_path / 'other'}"]) == 1
    assert "are not in its cache and cannot be fetched" in capsys.readouterr().err


@pytest.mark.usefixtures("in_the_checkout")
def test_the_shipped_recipe_is_built_without_a_network(tmp_path, monkeypatch):
    without_network(monkeypatch, tmp_path)
    asked, life = read_config("pretrain", ["configs/pretrain/continue_1gpu.yaml"])
    found, (told,) = with_its_model(asked, life["given"])
    assert (found.model.window_size, found.model.embed_dim) == (6, 96)
    assert "window_size=6 for 192 px, as it has 7 for 224 px" in told
    with torch.device("meta"):
        simmim = build_simmim(found)
    published = 28_288_354 - 769_000  # Swin-T without its head; tables are those of 7 x 7 tokens
    tables, decoder = (13**2 - 11**2) * 138, 769 * 3072  # 138 heads in all its blocks
    wanted = published - tables + decoder + 96  # the mask token
    assert sum(one.numel() for one in simmim.parameters()) == wanted


@pytest.mark.parametrize("rule", ["repeat", "average", "zero"])
def test_colours_go_over_to_fourteen_bands(rule, plain, tmp_path):
    source = our_run(tmp_path / "weights")
    with webdataset.TarWriter(str(tmp_path / "bands-000000.tar")) as tar:
        for place in range(30):
            bands = np.full((14, 36, 36), place, np.float32)
            tar.write({"__key__": f"{place:04d}", "input.npy": npy(bands)})
    data = replace(plain.data, shards=str(tmp_path / "bands-000000.tar"), dtype="float32")
    data = replace(data, mean=(15.0,) * 14, std=(9.0,) * 14)
    begun = build(replace(plain, init=str(source), data=data, encoder_channels=rule))
    (remark,) = begun.module.loaded["remarks"]
    assert remark.startswith(f"channels 3 -> 14, by {rule}: ")
    kernel = begun.encoder.state_dict()["backbone.patch_embed.proj.weight"]
    theirs = find_any(source).state["backbone.patch_embed.proj.weight"]
    assert kernel.shape[1] == 14
    torch.testing.assert_close(kernel.sum(1), theirs.sum(1))
    assert torch.equal(kernel[:, :3], theirs) == (rule == "zero")
