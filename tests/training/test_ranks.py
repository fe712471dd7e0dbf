"""Three processes and more: a run that is stopped ends with the weights of one that never was."""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ssl_swin.config.run import RunConfig
from tests.training.launch import finetune_config, finish, pretrain_config, start, train
from tests.training.stops import signal_in_step
from tests.training.test_interruption import assert_equal, checkpoint

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}


def build(
    kind: str, run_dir: Path, shards: Path, devices: int, epochs: int = 4, **training: object
) -> RunConfig:
    """8 steps an epoch with all that is drawn at random switched on; no step is done twice."""
    config = CONFIGS[kind](
        run_dir, shards, devices=devices, micro_batch_size=3, checkpoint_every_steps=0, **training
    )
    model, optim = replace(config.model, drop_path_rate=0.1), replace(config.optim, epochs=epochs)
    return replace(config, model=model, optim=optim)


def stopped_at(config: RunConfig, steps: list[int]) -> Path:
    """Train with a life for each of the `steps`, in whose middle the last rank hears a signal."""
    for step in steps:
        assert finish(start(config, prepare=partial(signal_in_step, step))) == {75}
    return train(config)


def assert_same_end(one: Path, other: Path) -> None:
    before, after = checkpoint(one), checkpoint(other)
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


def test_a_fine_tuning_on_3_processes_that_is_stopped_ends_with_bit_equal_weights(tmp_path, shards):
    straight = train(build("finetune", tmp_path / "straight", shards, 3, epochs=2))
    stopped = stopped_at(build("finetune", tmp_path / "stopped", shards, 3, epochs=2), [5])
    assert_same_end(straight, stopped)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("devices", [3, 4])
@pytest.mark.parametrize("kind", CONFIGS)
def test_stopped_at_five_drawn_steps_it_ends_with_bit_equal_weights(
    tmp_path, shards, kind, devices, num_workers
):
    straight = build(kind, tmp_path / "straight", shards, devices)
    data = replace(straight.data, num_workers=num_workers)
    draw = random.Random(f"{kind} {devices} {num_workers}")
    # The life leaves up to 5 steps after the signal; the next one hears it after that.
    steps = [6 * life + draw.randrange(2) for life in range(5)]
    stopped = build(kind, tmp_path / "stopped", shards, devices)
    assert_same_end(train(straight), stopped_at(replace(stopped, data=data), steps))
