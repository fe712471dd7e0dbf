"""Each way to fine-tune: exact after `kill -9`, and the same on other layouts."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.config.settings import with_values
from tests.training.launch import finetune_config, finish, interrupt, start, train
from tests.training.test_elastic import global_batches, largest_difference, points
from tests.training.test_interruption import assert_equal, checkpoint

WAYS: dict[str, dict[str, Any]] = {
    "weighted": {"finetune.loss": "focal", "finetune.class_weights": "balanced"},
    "sampled": {"data.sampling": "balanced"},
    "averaged": {"training.ema_decay": 0.75, "finetune.freeze": 1},
    "by auroc": {"training.best": "auroc"},
    "frozen": {"finetune.freeze": 1, "model.depths": (2, 1), "model.drop_path_rate": 0.5},
    "head first": {"finetune.head_epochs": 1},
}
ALL = {name: value for way in WAYS.values() for name, value in way.items()}
WAYS["all at once"] = ALL | {"finetune.class_weights": "none"}  # which sampling takes the place of
CURVES = ("train/loss", "train/grad_norm", "heldout/heldout_loss", "heldout/top1")
# Nothing of what is drawn by rank.
EVEN = {"model.drop_path_rate": 0.0, "optim.mixup": 0.0, "optim.cutmix": 0.0}
every_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow) for way in [*WAYS][:-1]] + [[*WAYS][-1]]
)


def build(run_dir: Path, shards: Path, way: str, **training: Any) -> FinetuneConfig:
    """16 steps with checkpoints every 4; where the head learns first, it does so for 8."""
    config = finetune_config(run_dir, shards, checkpoint_every_steps=4, **training)
    config = replace(config, optim=replace(config.optim, epochs=2))
    return with_values(config, WAYS[way])


@every_way
def test_killed_twice_it_ends_with_the_same_bits(tmp_path, shards, way):
    straight = train(build(tmp_path / "straight", shards, way))
    config = build(tmp_path / "killed", shards, way, micro_batch_size=24)
    for step in (7, 9):  # to go on while the head learns alone, and right where all begins
        assert interrupt(config, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(config)) == {0}
    for name in ("last", "best"):
        before, after = (checkpoint(run, name) for run in (straight, tmp_path / "killed"))
        for part in before.keys() - {"config"}:
            assert_equal(before[part], after[part], part)


@every_way
def test_another_layout_has_the_same_curve(tmp_path, shards, way):
    def even(name: str, **training: Any) -> FinetuneConfig:
        return with_values(build(tmp_path / name, shards, way, precision="fp64", **training), EVEN)

    straight = train(even("straight"))
    stopped = even("stopped", devices=2, micro_batch_size=5)
    assert interrupt(stopped, 6, signal.SIGTERM) == {75}
    fsdp = even("stopped", devices=2, strategy="fsdp", activation_checkpointing=True)
    assert interrupt(fsdp, 10, signal.SIGTERM) == {75}
    assert finish(start(even("stopped", devices=3))) == {0}
    run = tmp_path / "stopped"
    assert global_batches(run) == global_batches(straight)
    for name in (*CURVES, *(("heldout/best_auroc",) if "training.best" in WAYS[way] else ())):
        assert largest_difference(points(run, name), points(straight, name)) < 1e-9, name
