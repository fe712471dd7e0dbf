"""A checkpoint of ours is opened as its run folder is, wherever it lies."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import ssl_swin
from ssl_swin.__main__ import run
from ssl_swin.features.subjects import find_subject
from ssl_swin.pretrained.checkpoint import open_checkpoint, read_checkpoint, read_checkpoint_card
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.named import find_any
from ssl_swin.record.run_folder import RunFolder
from tests.conftest import TINY_MODEL

RELEASES = Path(__file__).parents[1] / "releases"
SHORT = [
    *("--data.val-shards=null", "--optim.epochs=1", "--optim.warmup-epochs=0"),
    *("--training.global-batch-size=8", "--training.num-threads=1", "--data.num-workers=0"),
]
DEMO = ["pretrain", "configs/pretrain/demo.yaml", "--data.labelled-shards=null", *SHORT]
VIT = ["--model.name=vit_tiny_patch16_224", "--model.patch-size=4", "--model.embed-dim=24"]
RUNS = {
    "no shift, other colours": [
        *(*DEMO, *TINY_MODEL, "--model.shift=none", "--data.mean=[0.1]", "--data.std=[0.9]")
    ],
    "windows of 3, masked": [
        *(*DEMO, *TINY_MODEL, "--model.window-size=3", "--model.padding=masked")
    ],
    "a window for each stage": [*DEMO, *TINY_MODEL, "--model.window-size=[[4,2],[2,4]]"],
    "Swin V2": [*DEMO, *TINY_MODEL, "--model.name=swinv2_tiny_window8_256"],
    "ViT": [
        *(*DEMO, *VIT, "--model.depths=[2]", "--model.num-heads=[3]", "--model.norm-eps=1e-4"),
        "--model.window-size=null",
    ],
    "fine-tuning, averaged": [
        *("finetune", "configs/finetune/demo.yaml", "--encoder=null", "--num-classes=10"),
        *(*SHORT, *TINY_MODEL, "--model.shift=none", "--training.ema-decay=0.5"),
        *(
            "--data.mean=[0.2]",
            "--data.std=[0.8]",
            "--data.rand-augment=",
            "--data.num-labels=null",
        ),
    ],
}


@pytest.fixture(scope="module")
def trained_as(tiny_shards, tmp_path_factory):
    """Train one of `RUNS`, once; return its folder."""
    shards, root, made = tiny_shards([9, 7]), tmp_path_factory.mktemp("runs"), {}

    def train(name):
        if name not in made:
            made[name] = RunFolder(root / str(len(made)))
            words = [*RUNS[name], f"--data.shards={shards}", f"--run-dir={made[name].root}"]
            assert run(words) == 0
        return made[name]

    return train


def alone(folder, to):
    """Copy the last checkpoint away from all that lies around it."""
    return Path(shutil.copy(folder.last, to / "epoch.ckpt"))


def edited(path, **changes):
    said = torch.load(path, weights_only=True)
    torch.save(said | changes, path)
    return path


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("in_the_checkout")
def test_a_checkpoint_is_what_its_run_folder_is(name, trained_as, tmp_path):
    folder = trained_as(name)
    there, here = (ssl_swin.load_encoder(one) for one in (folder.root, alone(folder, tmp_path)))
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(there(images), here(images))
    assert replace(here.card, commit=there.card.commit) == there.card
    assert here.card.epoch == 1
    assert not here.report.says_more


@pytest.mark.usefixtures("in_the_checkout")
def test_a_run_begins_with_all_that_the_run_of_a_checkpoint_knew(trained_as, tiny_shards, tmp_path):
    checkpoint = alone(trained_as("no shift, other colours"), tmp_path)
    words = ["pretrain", "continue_1gpu", f"--data.shards={tiny_shards([9, 7])}", *SHORT]
    words += ["--training.accelerator=cpu", "--training.precision=fp32", "--model.img-size=32"]
    words += ["--training.micro-batch-size=8", "--mask.mask-patch-size=8"]
    assert run([*words, f"--init={checkpoint}", f"--run-dir={tmp_path / 'next'}"]) == 0
    config = yaml.safe_load(RunFolder(tmp_path / "next").config.read_text())
    assert (config["data"]["mean"], config["data"]["std"]) == ([0.1], [0.9])
    assert (config["model"]["shift"], config["model"]["embed_dim"]) == ("none", 16)
    teacher = find_subject(str(checkpoint))
    assert (teacher.mean, teacher.std, teacher.img_size) == ((0.1,), (0.9,), 32)


@pytest.mark.parametrize("release", ["0.1", "0.2", "0.3"])
def test_checkpoints_of_earlier_releases_are_opened(release):
    folder = RunFolder(RELEASES / release / "finished")
    ended, found = find_any(folder.root), find_any(folder.last)
    assert all(torch.equal(found.state[name], one) for name, one in ended.state.items())
    theirs = {"commit": ended.card.commit, "epoch": ended.card.epoch}
    if release == "0.1":  # whose cards did not say it
        assert (found.card.crop_pct, ended.card.crop_pct) == (1.0, 0.875)
        theirs["crop_pct"] = 0.875
    assert replace(found.card, **theirs) == ended.card
    assert found.report.kind == "a checkpoint of a pretraining after step 14"
    assert found.report.remarks == (
        "its card says epoch 0: the release that saved it did not say how long one is",
    )
    tuned = find_any(RunFolder(RELEASES / release / "finetune").last)
    assert tuned.report.kind == "a checkpoint of a fine-tuning after step 5"
    assert tuned.card.mask_ratio is None


def with_channels(checkpoint, to, **said):
    """Copy a checkpoint, as of a run whose one channel is named."""
    copy = Path(shutil.copy(checkpoint, to / "named.ckpt"))
    config = torch.load(copy, weights_only=True)["config"]
    config |= {"data.dtype": "uint8", "data.channels": ["nir"], "data.picture_channels": ["nir"]}
    return edited(copy, config=config, **said)


def test_channels_have_their_names_or_are_refused(trained, tmp_path):
    folder = RunFolder(trained[1])
    named = with_channels(folder.last, tmp_path, channel_names=["red", "nir"])
    card = read_checkpoint_card(named)
    assert (card.channels, card.channel_names, card.picture_channels) == ((1,), ("nir",), (1,))
    unnamed = with_channels(folder.last, tmp_path)
    with pytest.raises(PretrainedMismatch, match=r"neither it nor \S+channels.json says which"):
        read_checkpoint(unnamed)
    with_channels(folder.last, folder.last.parent)
    folder.channels.write_text('["red", "green", "nir"]')
    assert read_checkpoint_card(folder.last.parent / "named.ckpt").channels == (2,)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"model.sharpness": 3},
            r"of ssl_swin \S+, whose config makes no encoder here \(a Swi",
        ),
        ({"data.mean": None}, "whose config makes no encoder here"),
        ({"model.embed_dim": 8}, "what its own config says, copy it again: .*shape"),
        ({"model.depths": "many"}, "whose config makes no encoder here"),
    ],
)
def test_a_config_that_makes_no_encoder_or_another_is_one_line(trained, changed, told):
    last = RunFolder(trained[1]).last
    config = torch.load(last, weights_only=True)["config"]
    edited(last, config=config | changed)
    with pytest.raises(PretrainedMismatch, match=told) as info:
        find_any(last)
    assert "\n" not in str(info.value)


def test_other_files_are_none(trained, tmp_path):
    last = RunFolder(trained[1]).last
    torch.save({"model": {}, "config": {"a": torch.ones(1)}}, tmp_path / "theirs.pth")
    (tmp_path / "text.txt").write_text("no weights")
    for path in (tmp_path / "theirs.pth", tmp_path / "text.txt", RunFolder(trained[1]).encoder):
        assert read_checkpoint(path) is open_checkpoint(path) is read_checkpoint_card(path) is None
    last.write_bytes(last.read_bytes()[:2000])
    assert read_checkpoint_card(last) is None
