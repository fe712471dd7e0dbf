"""Every kind of encoder, killed and on other numbers of processes: the same weights, or curve.

A new encoder is covered by a line in `MODELS`.
"""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import PretrainConfig
from tests.training.launch import MODEL, finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import global_batches, largest_difference, points

VIT = ModelConfig(
    "vit_tiny_patch16_224", 32, 4, embed_dim=16, depths=(2,), num_heads=(2,), drop_path_rate=0.0
)
MODELS = {
    "Swin": MODEL,
    "ViT": VIT,
    "ViT of SimMIM": replace(VIT, position="relative-shared", qkv_bias="qv", init_values=0.1),
    "ViT, a table of each block": replace(VIT, position="both", class_token=False),
}

pytestmark = pytest.mark.slow


def build(model: ModelConfig, run_dir: Path, shards: Path, devices: int = 1) -> PretrainConfig:
    config = pretrain_config(run_dir, shards, devices=devices, precision="fp64")
    return replace(config, model=model, optim=replace(config.optim, epochs=2))


def weights(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["model"]


@pytest.fixture(scope="module", params=MODELS)
def straight(request, tmp_path_factory, shards):
    """A model, and its run on one process that nobody stopped."""
    model = MODELS[request.param]
    return model, train(build(model, tmp_path_factory.mktemp("straight") / "run", shards))


def test_killed_it_ends_with_the_same_bits_with_drop_path_too(tmp_path, shards, straight):
    model = replace(straight[0], drop_path_rate=0.2)
    expected = weights(train(build(model, tmp_path / "straight", shards)))
    config = build(model, tmp_path / "killed", shards)
    for step in (5, 11):
        assert interrupt(config, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(config)) == {0}
    found = weights(tmp_path / "killed")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_stopped_on_two_processes_it_goes_on_with_three(tmp_path, shards, straight):
    model, expected = straight
    stopped = build(model, tmp_path / "stopped", shards, devices=2)
    assert interrupt(stopped, 7, signal.SIGTERM) == {75}
    shutil.copytree(tmp_path / "stopped", tmp_path / "run")
    assert finish(start(build(model, tmp_path / "run", shards, devices=3))) == {0}
    assert global_batches(tmp_path / "run") == global_batches(expected)
    for name in ("train/loss", "heldout/heldout_loss"):
        assert largest_difference(points(tmp_path / "run", name), points(expected, name)) < 1e-9


def test_with_weights_in_parts_it_has_the_same_curve(tmp_path, shards, straight):
    model, expected = straight
    config = build(model, tmp_path / "run", shards, devices=2)
    config = replace(config, training=replace(config.training, strategy="fsdp"))
    train(config)
    for name in ("train/loss", "heldout/heldout_loss"):
        assert largest_difference(points(tmp_path / "run", name), points(expected, name)) < 1e-9
