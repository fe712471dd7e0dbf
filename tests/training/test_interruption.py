"""Killed at any step, five times over, a run ends with the weights of one never stopped."""

import random
import signal
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl_swin.config.run import RunConfig
from ssl_swin.record.lines import read_lines
from tests.training.launch import (
    finetune_config,
    finish,
    interrupt,
    pretrain_config,
    start,
    train,
)
from tests.training.stops import (
    warned_and_killed_in_validation,
    warned_and_killed_while_validation_waits,
)

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}
NUM_SAMPLES, BATCH = 203, 24


def build(kind: str, run_dir: Path, shards: Path, num_workers: int = 0) -> RunConfig:
    config = CONFIGS[kind](run_dir, shards)
    config = replace(config, data=replace(config.data, num_workers=num_workers))
    return replace(config, model=replace(config.model, drop_path_rate=0.1))


@pytest.fixture(scope="module", params=["pretrain", "finetune"])
def straight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shards: Path
) -> tuple[str, Path]:
    run_dir = tmp_path_factory.mktemp("straight") / request.param
    return request.param, train(build(request.param, run_dir, shards))


@pytest.fixture(scope="module", params=[0, 2], ids=["0 workers", "2 workers"])
def killed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shards: Path,
    straight: tuple[str, Path],
) -> Path:
    kind, run = straight
    steps = read_lines(run / "ledger" / "rank-0000.jsonl")[-1]["step"] + 1
    config = build(kind, tmp_path_factory.mktemp("killed") / kind, shards, request.param)
    chosen = random.Random(f"{kind} {request.param}").sample(range(2, steps - 1), 5)
    for step in sorted(chosen):
        assert interrupt(config, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(config)) == {0}
    return Path(config.run_dir)


def checkpoint(run: Path, name: str = "last") -> dict:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_equal(first: object, second: object, where: str = "") -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        for place, pair in enumerate(zip(first, second, strict=True)):
            assert_equal(*pair, f"{where}[{place}]")
    else:
        assert first == second, where


def test_a_killed_run_ends_with_bit_equal_weights(straight, killed):
    before, after = checkpoint(straight[1]), checkpoint(killed)
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


def test_a_step_run_in_two_lives_shows_the_same_images_and_counts_once(straight, killed):
    by_step = defaultdict(set)
    lines = read_lines(killed / "ledger" / "rank-0000.jsonl")
    for line in lines:
        by_step[line["step"]].add(tuple(line["ids"]))
    assert len({line["life"] for line in lines}) == 6
    assert len(lines) > len(by_step)  # some steps did run twice
    assert all(len(ids) == 1 for ids in by_step.values())
    expected = read_lines(straight[1] / "ledger" / "rank-0000.jsonl")
    assert {line["step"]: {tuple(line["ids"])} for line in expected} == by_step
    per_epoch = NUM_SAMPLES // BATCH
    for first in range(0, len(by_step), per_epoch):
        ids = [i for step in range(first, first + per_epoch) for i in next(iter(by_step[step]))]
        assert len(set(ids)) == len(ids) == per_epoch * BATCH
        assert NUM_SAMPLES - len(ids) <= BATCH - 1


def test_tensorboard_shows_one_unbroken_curve(straight, killed):
    curves = []
    for run in (straight[1], killed):
        of_run = {}
        for part in ("train", "held-out"):
            events = EventAccumulator(str(run / part)).Reload()
            for name in (n for n in events.Tags()["scalars"] if not n.startswith("speed/")):
                of_run[part, name] = [(e.step, e.value) for e in events.Scalars(name)]
        curves.append(of_run)
    assert curves[0] == curves[1]
    steps = [step for step, _ in curves[1]["train", "loss"]]
    assert curves[1]["held-out", "loss"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_signal_saves_at_the_step_boundary_and_asks_for_a_requeue(tmp_path, shards):
    config = build("pretrain", tmp_path / "run", shards)
    config = replace(config, training=replace(config.training, checkpoint_every_steps=0))
    assert interrupt(config, 4, signal.SIGTERM) == {75}
    steps = [line["step"] for line in read_lines(tmp_path / "run" / "ledger" / "rank-0000.jsonl")]
    assert checkpoint(tmp_path / "run")["step"] == steps[-1] + 1  # no step is lost
    assert finish(start(config)) == {0}
    lines = read_lines(tmp_path / "run" / "ledger" / "rank-0000.jsonl")
    assert [line["step"] for line in lines] == list(range(len(lines)))  # and none is redone


def test_a_finished_run_is_left_as_it_is(straight, shards):
    kind, run = straight
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert finish(start(build(kind, run, shards))) == {0}
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    "stop", [warned_and_killed_in_validation, warned_and_killed_while_validation_waits]
)
def test_a_warning_while_held_out_images_are_measured_loses_nothing(
    tmp_path, shards, straight, stop
):
    kind, expected = straight
    config = build(kind, tmp_path / "run", shards)
    config = replace(config, training=replace(config.training, checkpoint_every_steps=0))
    run = Path(config.run_dir)
    assert finish(start(config, prepare=partial(stop, run))) == {-signal.SIGKILL}
    assert checkpoint(run)["step"] == NUM_SAMPLES // BATCH  # the first epoch
    assert finish(start(config)) == {0}
    lines = read_lines(run / "ledger" / "rank-0000.jsonl")
    assert [line["step"] for line in lines] == list(range(len(lines)))  # none is redone
    names = ["last", "best"] if kind == "finetune" else ["last"]
    for part in ("model", "optimizer", "step", "metrics"):
        for name in names:
            assert_equal(checkpoint(expected, name)[part], checkpoint(run, name)[part], part)
    measured = [
        [line for line in read_lines(one / "metrics.jsonl") if "heldout/heldout_loss" in line]
        for one in (expected, run)
    ]
    assert measured[0] == measured[1]
