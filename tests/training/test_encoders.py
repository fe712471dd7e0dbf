"""Every kind of encoder through killed runs and on other numbers of processes: the same weights."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import RunConfig
from ssl_swin.models.encoder import ENCODERS
from tests.training.launch import finetune_config, finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import largest_difference, points
from tests.training.test_interruption import assert_equal, checkpoint

# The kinds of ENCODERS: a name of each with sizes for images of 32 pixels. Drop path is on.
SIZES = partial(ModelConfig, img_size=32, patch_size=4, drop_path_rate=0.1)
SWINS = partial(SIZES, window_size=4, embed_dim=16, depths=(1, 2), num_heads=(1, 2))
VITS = partial(SIZES, embed_dim=16, depths=(2,), num_heads=(2,))
KINDS = [
    SWINS("swin_tiny_patch4_window7_224"),
    SWINS("swinv2_tiny_window8_256", pretrained_window_sizes=(8, 0)),
    VITS("vit_tiny_patch16_224"),
    VITS("vit_base_patch16_224", position="relative-shared", qkv_bias="qv", init_values=0.1),
    VITS("beit_base_patch16_224", position="both", fc_norm=False),
]
every_kind = pytest.mark.parametrize("model", KINDS, ids=lambda model: model.name)


def build(configure, model: ModelConfig, run_dir: Path, shards: Path, **training) -> RunConfig:
    config = configure(run_dir, shards, **training)
    return replace(config, model=model, optim=replace(config.optim, epochs=2))


def test_every_kind_is_tried():
    assert {ENCODERS[model.name] for model in KINDS} == {*ENCODERS.values()}


@pytest.mark.slow
@pytest.mark.parametrize("configure", [pretrain_config, finetune_config])
@every_kind
def test_killed_twice_it_ends_with_bit_equal_weights(tmp_path, shards, model, configure):
    straight = train(build(configure, model, tmp_path / "straight", shards))
    config = build(configure, model, tmp_path / "killed", shards)
    for step in (5, 12):
        assert interrupt(config, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(config)) == {0}
    before, after = checkpoint(straight), checkpoint(tmp_path / "killed")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


@pytest.mark.slow
@every_kind
def test_on_other_numbers_of_processes_the_curve_is_the_same(tmp_path, shards, model):
    model, curves = replace(model, drop_path_rate=0.0), []
    for devices, micro_batch_size in ((1, 24), (2, 5), (3, 24)):
        layout = {"devices": devices, "micro_batch_size": micro_batch_size, "precision": "fp64"}
        run = train(build(pretrain_config, model, tmp_path / f"{devices}", shards, **layout))
        curves.append([points(run, one) for one in ("train/loss", "heldout/heldout_loss")])
    for curve in curves[1:]:
        for one, other in zip(curve, curves[0], strict=True):
            assert largest_difference(one, other) < 1e-9


@pytest.mark.slow
@every_kind
def test_with_weights_in_parts_the_curve_is_the_same(tmp_path, shards, model):
    model, curves = replace(model, drop_path_rate=0.0), []
    for layout in ({"devices": 1}, {"devices": 2, "strategy": "fsdp"}):
        folder = tmp_path / str(layout["devices"])
        run = train(build(pretrain_config, model, folder, shards, precision="fp64", **layout))
        curves.append([points(run, one) for one in ("train/loss", "heldout/heldout_loss")])
    for one, other in zip(*curves, strict=True):
        assert largest_difference(one, other) < 1e-9
