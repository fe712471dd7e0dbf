"""Pretraining that begins with weights: exact after `kill -9`, and the same on other layouts."""

import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_swin.config.model import MaskConfig, ModelConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.load import save_encoder
from ssl_swin.record.lines import read_lines
from ssl_swin.record.loaded import read_loaded
from ssl_swin.record.run_folder import RunFolder
from tests.pretrained.timm_cache import fill, without_network
from tests.training.launch import finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import global_batches, largest_difference, points
from tests.training.test_interruption import assert_equal, checkpoint

TIMMS = "vit_tiny_patch16_224"


class _Patch:
    setattr = staticmethod(lambda name, value, **_: _set(name, value))


def _set(name: str, value: object) -> None:
    module, _, attribute = name.rpartition(".")
    setattr(__import__(module, fromlist=[attribute]), attribute, value)


def in_the_cache(folder: Path, _rank: int) -> None:
    """Let a training process look for timm's weights in a folder, without a network."""
    without_network(_Patch, folder)


def of_timm(folder: Path) -> tuple[str, dict[str, Any]]:
    """A ViT under its name, with fewer layers for the sake of time, on grey images of 32 pixels."""
    fill(folder, TIMMS)
    return f"timm:{TIMMS}", {
        "model": ModelConfig(img_size=32),
        "mask": MaskConfig(mask_patch_size=16),
    }


def ours(folder: Path) -> tuple[str, dict[str, Any]]:
    """A Swin of larger RGB images, with a mask token, whose tables and channels are changed."""
    torch.manual_seed(5)
    sizes = {"window_size": 8, "embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2)}
    encoder = build_encoder("swin_tiny_patch4_window7_224", 64, 3, **sizes)
    save_encoder(encoder, folder / "encoder.safetensors")
    return str(folder / "encoder.safetensors"), {"model": ModelConfig(img_size=32)}


STARTS = {"timm": of_timm, "ours": ours}


def build(run_dir: Path, shards: Path, begun: tuple[str, dict[str, Any]], **training: Any) -> Any:
    """8 steps with checkpoints after 3 and 6; layers learn at rates of their own."""
    init, changes = begun
    config: PretrainConfig = pretrain_config(run_dir, shards, **training)
    optim = replace(config.optim, epochs=1, warmup_epochs=0.25, layer_decay=0.8)
    made = replace(config, init=init, encoder_channels="average", optim=optim, **changes)
    return replace(made, data=replace(made.data, mean=(0.286,), std=(0.353,)))


@pytest.mark.parametrize("kind", [pytest.param("timm", marks=pytest.mark.slow), "ours"])
def test_killed_before_and_after_its_first_checkpoint_it_ends_bit_equal(kind, shards, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    begun, prepare = STARTS[kind](weights), partial(in_the_cache, weights)
    straight = build(tmp_path / "straight", shards, begun)
    assert finish(start(straight, prepare=prepare)) == {0}
    killed = build(tmp_path / "killed", shards, begun)
    assert interrupt(killed, 1, signal.SIGKILL, prepare) == {-signal.SIGKILL}
    assert not RunFolder(tmp_path / "killed").last.exists()
    assert interrupt(killed, 5, signal.SIGKILL, prepare) == {-signal.SIGKILL}
    shutil.rmtree(weights)  # it is needed no more
    assert finish(start(killed, prepare=prepare)) == {0}
    before, after = checkpoint(tmp_path / "straight"), checkpoint(tmp_path / "killed")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics", "encoder"):
        assert_equal(before[part], after[part], part)
    assert before["encoder"] is not None
    folder = RunFolder(tmp_path / "killed")
    assert read_loaded(folder) == read_loaded(RunFolder(tmp_path / "straight"))
    assert read_loaded(folder).source == begun[0]
    assert len(read_lines(folder.lives)) == 3


@pytest.mark.slow
def test_on_other_ranks_and_micro_batches_it_learns_the_same(shards, tmp_path):
    begun = ours(tmp_path)
    alone = train(build(tmp_path / "1", shards, begun, precision="fp64"))
    layout = {"devices": 2, "micro_batch_size": 5, "precision": "fp64"}
    two = train(build(tmp_path / "2", shards, begun, **layout))
    assert global_batches(two) == global_batches(alone)
    for name in ("train/loss", "train/grad_norm", "heldout/heldout_loss"):
        assert largest_difference(points(two, name), points(alone, name)) < 1e-9, name
