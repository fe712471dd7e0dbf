"""A warning at any moment costs no step, and a kill at any moment no more than a save interval."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.lines import read_lines
from ssl_swin.training.preemption import Agreement
from tests.training import stops
from tests.training.launch import (
    PATIENCE_S,
    PROCESSES,
    finish,
    pretrain_config,
    start,
    train,
)

SAVE_EVERY, NUM_STEPS = 3, 8


def build(run_dir: Path, shards: Path, devices: int = 1, **training: object) -> PretrainConfig:
    """8 steps, a save after 3 and 6, one held-out measurement after 4."""
    settings = {"checkpoint_every_steps": SAVE_EVERY, "panel_every_epochs": 0} | training
    config = pretrain_config(run_dir, shards, devices=devices, **settings)
    return replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    return train(build(tmp_path_factory.mktemp("straight") / "run", shards))


def saved(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def ends(run: Path) -> list[tuple]:
    return [
        (line["reason"], line["status"], line["step"]) for line in read_lines(run / "ends.jsonl")
    ]


def assert_same_end(run: Path, straight: Path) -> None:
    mine, theirs = saved(run), saved(straight)
    assert mine["step"] == theirs["step"] == NUM_STEPS
    assert all(torch.equal(mine["model"][name], value) for name, value in theirs["model"].items())
    state = theirs["optimizer"]["state"]
    for number, moments in state.items():
        for name, value in moments.items():
            assert torch.equal(mine["optimizer"]["state"][number][name], value)


@pytest.mark.parametrize(
    ("prepare", "leaves_after", "name"),
    [
        (stops.signal_in_step_3, 4, "SIGUSR1"),
        (stops.signal_in_a_save, 3, "SIGUSR1"),
        (stops.more_signals_in_the_save, 4, "SIGUSR1"),
    ],
)
@pytest.mark.parametrize("background", [False, True])
def test_a_signal_at_any_moment_loses_no_step(
    tmp_path, shards, straight, prepare, leaves_after, name, background
):
    config = build(tmp_path / "run", shards, async_checkpoint=background)
    run = Path(config.run_dir)
    assert finish(start(config, prepare=prepare)) == {75}
    left_after = saved(run)["step"]
    # beside a save in the background steps go on: the signal may come during the next one
    is_beside = background and prepare is stops.signal_in_a_save
    assert left_after in (leaves_after, leaves_after + is_beside)
    assert ends(run) == [(f"signal {name}", 75, left_after)]
    assert not list(run.rglob("*.partial"))
    assert finish(start(config)) == {0}
    steps = [line["step"] for line in read_lines(run / "ledger" / "rank-0000.jsonl")]
    assert steps == list(range(NUM_STEPS))
    assert ends(run)[1:] == [("finished", 0, NUM_STEPS)]
    assert_same_end(run, straight)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_signal_is_heard_while_a_batch_is_waited_for(tmp_path, shards, devices, num_workers):
    """One rank waits for its batch, the other is signalled: both stop at the step that is done."""
    config, marker = build(tmp_path / "run", shards, devices), tmp_path / "stalled"
    config = replace(config, data=replace(config.data, num_workers=num_workers))
    run, done = Path(config.run_dir), 4 if num_workers else 2
    processes = start(config, prepare=partial(stops.stall_in_the_third_read, marker))
    while not marker.exists() or len(read_lines(run / "ledger" / "rank-0000.jsonl")) < done:
        assert processes[0].is_alive()
        time.sleep(0.01)
    os.kill(processes[0].pid, signal.SIGUSR1)
    assert finish(processes) == {75}
    assert ends(run) == [("signal SIGUSR1", 75, done)]
    assert saved(run)["step"] == done
    assert finish(start(config)) == {0}
    for rank in range(devices):
        steps = [line["step"] for line in read_lines(run / "ledger" / f"rank-{rank:04d}.jsonl")]
        assert steps == list(range(NUM_STEPS))


@pytest.mark.parametrize("prepare", [stops.signal_before_the_first_step, stops.never_begin])
def test_a_signal_before_the_first_step_is_heard_at_once(tmp_path, shards, prepare):
    config = build(tmp_path / "run", shards, 2 if prepare is stops.never_begin else 1)
    assert 75 in finish(start(config, prepare=prepare))
    assert not (tmp_path / "run").exists()


def test_a_signal_in_a_measurement_is_heard_after_it(tmp_path, shards):
    config = build(tmp_path / "run", shards)
    config = replace(config, optim=replace(config.optim, epochs=2))
    assert finish(start(config, prepare=stops.signal_in_validation)) == {75}
    assert ends(Path(config.run_dir)) == [("signal SIGUSR1", 75, NUM_STEPS)]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_signal_in_the_last_step_finds_the_run_finished(tmp_path, shards, devices):
    config = build(tmp_path / "run", shards, devices)
    assert finish(start(config, prepare=stops.signal_in_the_last_step)) == {0}
    assert ends(tmp_path / "run") == [("finished", 0, NUM_STEPS)]
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.parametrize("devices", [2, 3])
def test_a_signal_to_one_rank_stops_all_after_the_same_step(tmp_path, shards, devices):
    config = build(tmp_path / "run", shards, devices)
    run = Path(config.run_dir)
    assert finish(start(config, prepare=stops.signal_in_step_1)) == {75}
    (end,) = ends(run)
    assert end[:2] == ("signal SIGUSR1", 75)
    assert end[2] in (2, 3)  # the word for the next step may be out already
    for rank in range(devices):
        steps = [line["step"] for line in read_lines(run / "ledger" / f"rank-{rank:04d}.jsonl")]
        assert steps == list(range(end[2]))
    assert saved(run)["step"] == end[2]


def test_checkpoints_by_minutes_are_the_same_steps_on_all_ranks(tmp_path, shards):
    settings = {"checkpoint_every_steps": 0, "checkpoint_every_min": 1e-9}
    run = train(build(tmp_path / "run", shards, 2, **settings))
    lines = read_lines(run / "checkpoints.jsonl")
    by_minutes = [line["step"] for line in lines if "minutes" in line["reasons"]]
    assert by_minutes[0] == 1  # known before the first step
    assert lines[-1]["step"] == NUM_STEPS


@pytest.mark.parametrize("background", [False, True])
def test_killed_in_the_middle_of_a_save_it_goes_on_from_the_one_before(
    tmp_path, shards, straight, background
):
    config = build(tmp_path / "run", shards, async_checkpoint=background)
    run = Path(config.run_dir)
    killed = finish(start(config, prepare=stops.kill_in_the_second_save))
    assert killed == {-signal.SIGKILL}
    assert saved(run)["step"] == SAVE_EVERY
    assert len(list(run.rglob("*.partial"))) == 1
    assert finish(start(config)) == {0}
    lives = [(line["life"], line["step"]) for line in read_lines(run / "lives.jsonl")]
    assert lives == [(1, 0), (2, SAVE_EVERY)]
    assert not list(run.rglob("*.partial"))
    assert_same_end(run, straight)


def content(run: Path) -> dict[Path, bytes]:
    """All files of a run but for TensorBoard's, which opens one for each life."""
    files = (path for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name)
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("prepare", "status"),
    [
        (stops.read_the_previous_one, 75),
        (stops.read_a_damaged_one, 75),
        (stops.find_no_run, 1),
    ],
)
def test_ranks_that_read_two_checkpoints_do_not_start(tmp_path, shards, straight, prepare, status):
    config = build(tmp_path / "run", shards, 2)
    run = Path(config.run_dir)
    shutil.copytree(straight, run)
    (run / "summary.json").unlink()
    config = replace(config, optim=replace(config.optim, epochs=1))
    last, previous = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "previous.ckpt"
    last.unlink()
    previous.rename(last)  # step 6
    state = torch.load(last, weights_only=True) | {"step": 3}
    torch.save(state, previous)
    before = content(run)
    assert finish(start(config, prepare=prepare)) == {status}
    assert content(run) == before


@pytest.mark.slow
def test_a_signal_during_the_imports_is_heard(trained):
    """By the real command: signalled as soon as it listens, long before torch is there."""
    arguments, folder = trained
    run = folder.parent / "new"
    command = [sys.executable, "-m", "ssl_swin", *arguments, f"--run-dir={run}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while not _catches(status.read_text(), signal.SIGUSR1):
        time.sleep(0.001)
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait(PATIENCE_S) == 75
    assert not run.exists()


def _catches(status: str, number: int) -> bool:
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (number - 1) & 1)


HANDED_IN = [[0, 3, -5], [2, 0, -4], [1, 1, -9]]


def agree(place, rank, world_size):
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=world_size)
    agreement = Agreement(world_size, timedelta(minutes=1))
    for extra in (0, 10):
        agreement.start([value + extra for value in HANDED_IN[rank]])
        largest = [max(column) for column in zip(*HANDED_IN[:world_size], strict=True)]
        assert agreement.wait() == [value + extra for value in largest]
    dist.destroy_process_group()


def test_all_ranks_learn_the_largest_of_what_they_handed_in(tmp_path):
    for world_size in (2, 3):
        place = tmp_path / str(world_size)
        processes = [
            PROCESSES.Process(target=agree, args=(place, rank, world_size))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        assert finish(processes) == {0}


def test_one_process_agrees_with_itself():
    agreement = Agreement(1, None)
    agreement.start([4, -2])
    assert agreement.wait() == [4, -2]
