"""Stopped and started again on the device, a run ends with the weights of one never stopped."""

from functools import partial
from pathlib import Path

import pytest

from tests.gpu.device import ACCELERATOR, ON_GPU, needs_gpu, tolerate_warnings
from tests.training.launch import finish, start
from tests.training.stops import signal_in_step
from tests.training.test_ranks import CONFIGS, assert_same_end, build


def lives(config, steps=()):
    """Train to the end, with a life for each of the `steps`, in whose middle a signal comes."""
    for step in steps:
        assert finish(start(config, prepare=partial(prepare, step))) == {75}
    assert finish(start(config, prepare=tolerate_warnings)) == {0}
    return Path(config.run_dir)


def prepare(step, rank):
    tolerate_warnings()
    signal_in_step(step, rank)


@pytest.mark.parametrize("devices", [1, pytest.param(3, marks=needs_gpu("a rank each", num=3))])
@pytest.mark.parametrize("kind", CONFIGS)
def test_its_weights_are_bit_equal_if_deterministic(tmp_path, shards, kind, devices):
    there = {"accelerator": ACCELERATOR, "deterministic": ON_GPU}
    straight, stopped = (
        build(kind, tmp_path / name, shards, devices, epochs=2, **there)  # 8 steps each
        for name in ("straight", "stopped")
    )
    assert_same_end(lives(straight), lives(stopped, [3, 9]))
