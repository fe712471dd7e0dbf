"""The same run on any number of processes, workers and micro-batches: same batches, same curve."""

import itertools
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_swin.config.data import SetConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.lines import read_lines
from tests.training.conftest import SAMPLE, write_shards
from tests.training.launch import (
    finetune_config,
    finish,
    interrupt,
    pretrain_config,
    start,
    train,
)

QUALITY = ("quality/rankme", "quality/feature_std_stage1", "quality/mean_cosine")
LAYOUTS = list(itertools.product([1, 2, 3, 4], [0, 2], [24, 5]))  # processes, workers, micro-batch


def build(
    run_dir: Path, shards: Path, layout: tuple[int, int, int], precision: str = "fp64"
) -> PretrainConfig:
    devices, num_workers, micro_batch_size = layout
    config = pretrain_config(
        run_dir,
        shards,
        devices=devices,
        micro_batch_size=micro_batch_size,
        precision=precision,
        checkpoint_every_steps=7,
    )
    return replace(config, data=replace(config.data, num_workers=num_workers))


def global_batches(run: Path) -> dict[int, list[int]]:
    """Return step -> ids over all ranks, checking that a step run twice shows the same ids."""
    shares: dict[tuple[int, int, int], list[int]] = {}
    for path in sorted((run / "ledger").iterdir()):
        for line in read_lines(path):
            shares[line["step"], line["life"], line["rank"]] = line["ids"]
    batches: dict[int, list[int]] = {}
    for (step, _), group in itertools.groupby(sorted(shares), key=lambda key: key[:2]):
        ids = [i for key in group for i in shares[key]]
        assert batches.setdefault(step, ids) == ids
    return batches


def points(run: Path, name: str) -> dict[int, float]:
    lines = read_lines(run / "metrics.jsonl")
    return {line["step"]: line[name] for line in lines if name in line}


def largest_difference(first: dict[int, float], second: dict[int, float]) -> float:
    assert first.keys() == second.keys()
    assert first
    return max(abs(first[step] - second[step]) for step in first)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    return train(build(tmp_path_factory.mktemp("straight") / "run", shards, LAYOUTS[0]))


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=str)
def test_every_layout_has_the_same_global_batches_and_loss_curve(
    tmp_path, shards, straight, layout
):
    run = train(build(tmp_path / "run", shards, layout))
    assert global_batches(run) == global_batches(straight)
    for name in ("train/loss", "train/grad_norm", "heldout/heldout_loss", *QUALITY):
        assert largest_difference(points(run, name), points(straight, name)) < 1e-9


def test_in_float32_the_first_20_steps_agree_on_every_number_of_processes(tmp_path, shards):
    curves = []
    for devices in (1, 2, 3, 4):
        config = build(tmp_path / str(devices), shards, (devices, 0, 24), "fp32")
        curves.append(points(train(config), "train/loss"))
    for curve in curves[1:]:
        first = {step: loss for step, loss in curve.items() if step <= 20}
        assert largest_difference(first, {step: curves[0][step] for step in first}) < 1e-5
        drift = largest_difference(curve, curves[0])
        print(f"float32 drift over {len(curve)} steps: {drift:.1e}")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A run on 2 processes that was asked to stop inside its second epoch."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    assert interrupt(build(run_dir, shards, (2, 0, 24)), 11, signal.SIGTERM) == {75}
    return run_dir


@pytest.mark.parametrize("devices", [1, 3])
def test_a_run_stopped_on_2_processes_goes_on_with_another_number(
    tmp_path, shards, straight, stopped, devices
):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    assert finish(start(build(run, shards, (devices, 0, 24)))) == {0}
    assert global_batches(run) == global_batches(straight)
    for name in ("train/loss", "heldout/heldout_loss"):
        assert largest_difference(points(run, name), points(straight, name)) < 1e-9
    # Learning rates, measurements and checkpoints fall on the same steps.
    for name in ("lr/decay", "lr/no_decay"):
        assert points(run, name) == points(straight, name)
    assert due_checkpoints(run) == due_checkpoints(straight)


def test_a_mixture_stopped_on_2_processes_goes_on_with_1(tmp_path, shards):
    sets = (
        SetConfig(str(shards / "part-00000{1,3}.tar"), 3.0),
        SetConfig(str(shards / "part-00000{0,2,4}.tar"), 1.0),
    )

    def mixed(run_dir: Path, devices: int) -> PretrainConfig:
        config = build(run_dir, shards, (devices, 0, 24))
        data = replace(config.data, shards=None, sets=sets, samples_per_epoch=240)
        return replace(config, data=data)

    run, straight = tmp_path / "run", train(mixed(tmp_path / "straight", 1))
    assert interrupt(mixed(run, 2), 11, signal.SIGTERM) == {75}
    assert finish(start(mixed(run, 1))) == {0}
    assert global_batches(run) == global_batches(straight)
    seen = Counter(index < 101 for batch in global_batches(run).values() for index in batch)
    assert abs(seen[True] / seen.total() - 0.75) < 0.03
    assert largest_difference(points(run, "train/loss"), points(straight, "train/loss")) < 1e-9


def due_checkpoints(run: Path) -> list[int]:
    lines = read_lines(run / "checkpoints.jsonl")
    return [line["step"] for line in lines if {"steps", "end"} & set(line["reasons"])]


@pytest.fixture(scope="module", params=[2000, 2001])
def heldout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shards(tmp_path_factory.mktemp("heldout"), [request.param - 2000])
    for tar in SAMPLE.glob("test-*.tar"):
        shutil.copy(tar, folder)
    return folder


@pytest.mark.parametrize("configure", [pretrain_config, finetune_config])
def test_held_out_results_do_not_depend_on_the_number_of_processes(
    tmp_path, shards, heldout, configure
):
    measured = []
    for devices in (1, 2, 3):
        # One step at no learning rate: the weights are the same, and are measured once.
        config = configure(tmp_path / str(devices), shards, devices=devices, global_batch_size=198)
        data = replace(config.data, val_shards=str(heldout))
        optim = replace(config.optim, epochs=1, warmup_epochs=0, base_lr=1e-30, min_lr=0.0)
        run = train(replace(config, data=data, optim=optim))
        (line,) = (x for x in read_lines(run / "metrics.jsonl") if "heldout/heldout_loss" in x)
        measured.append(line)
    for line in measured[1:]:
        for name, value in line.items():
            assert value == pytest.approx(measured[0][name], abs=1e-6), name


@pytest.mark.parametrize("configure", [pretrain_config, finetune_config])
def test_a_held_out_image_that_cannot_be_decoded_is_not_measured(
    tmp_path, shards, tiny_shards, configure
):
    sets = {"whole": (tiny_shards([9, 8]), 1), "broken": (tiny_shards([9, 11], {17, 18, 19}), 1)}
    sets["on 2 processes"] = sets["broken"][0], 2
    measured = {}
    for name, (folder, devices) in sets.items():
        config = configure(tmp_path / name, shards, devices=devices, global_batch_size=198)
        data = replace(config.data, val_shards=str(folder))
        optim = replace(config.optim, epochs=1, warmup_epochs=0, base_lr=1e-30, min_lr=0.0)
        run = train(replace(config, data=data, optim=optim))
        lines = read_lines(run / "metrics.jsonl")
        (measured[name],) = (x for x in lines if "heldout/heldout_loss" in x)
    for name in ("broken", "on 2 processes"):
        assert measured[name].pop("heldout/bad_samples") == 3
        assert measured[name] == pytest.approx(measured["whole"], abs=1e-6)
