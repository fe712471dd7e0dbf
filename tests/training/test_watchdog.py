"""A rank that hangs ends with the stacks of all ranks on the disk; one that is busy does not."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.lines import read_lines
from ssl_swin.record.owner import Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.life_record import LifeRecord
from ssl_swin.training.watchdog import Watchdog
from tests.training import stops
from tests.training.launch import finish, pretrain_config, start


def build(run_dir: Path, shards: Path, devices: int, step_timeout_s: float) -> PretrainConfig:
    settings = {"panel_every_epochs": 0, "step_timeout_s": step_timeout_s}
    config = pretrain_config(run_dir, shards, devices=devices, **settings)
    return replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


def test_a_rank_that_hangs_ends_all_and_all_say_where(tmp_path, shards):
    config = build(tmp_path / "run", shards, devices=2, step_timeout_s=2.0)
    began = time.monotonic()
    assert finish(start(config, prepare=stops.hang_in_step_3)) == {1}
    assert time.monotonic() - began < 30
    stacks = [(tmp_path / "run" / "stacks" / f"rank-000{r}.txt").read_text() for r in (0, 1)]
    assert "where_it_hangs" in stacks[1]
    assert "where_it_hangs" not in stacks[0]
    assert "backward" in stacks[0]  # where ranks meet
    lines = read_lines(tmp_path / "run" / "ends.jsonl")
    assert {(line["reason"], line["status"]) for line in lines} == {
        ("step time-out", 1),
        ("rank 1: step time-out", 1),
    }


def test_a_rank_that_hangs_with_python_s_lock_ends_too(tmp_path, shards):
    config = build(tmp_path / "run", shards, devices=1, step_timeout_s=1.0)
    began = time.monotonic()
    assert finish(start(config, prepare=stops.hang_with_the_lock_in_step_3)) == {-signal.SIGALRM}
    assert time.monotonic() - began < 30


def test_a_suspended_process_goes_on_and_tells(tmp_path, shards):
    config = build(tmp_path / "run", shards, devices=1, step_timeout_s=4.0)
    (process,) = start(config, prepare=stops.stop_itself_in_step_3)
    while stops.state_of(process.pid) != "T":
        time.sleep(0.01)
    time.sleep(6)  # longer than a step may take
    os.kill(process.pid, signal.SIGCONT)
    assert finish([process]) == {0}
    (end,) = read_lines(tmp_path / "run" / "ends.jsonl")
    assert (end["reason"], end["status"]) == ("finished", 0)
    assert end["suspended_s"] > 4
    assert not (tmp_path / "run" / "stacks").exists()


def test_a_measurement_longer_than_the_time_out_is_no_hang(tmp_path, shards):
    config = build(tmp_path / "run", shards, devices=1, step_timeout_s=1.5)
    assert finish(start(config, prepare=stops.slow_measure)) == {0}  # 9 batches of 0.25 s
    assert not (tmp_path / "run" / "stacks").exists()


def test_nothing_is_watched_after_the_end(trained):
    from ssl_swin.__main__ import run

    arguments, folder = trained
    before = threading.active_count()
    assert run([*arguments, f"--run-dir={folder.parent / 'new'}"]) == 0
    names = [thread.name for thread in threading.enumerate()]
    assert "watchdog" not in names
    assert threading.active_count() <= before + 1  # TensorBoard's may linger


def test_without_a_time_out_only_the_owner_is_looked_at(tmp_path):
    record = LifeRecord(RunFolder(tmp_path), 1, Ownership(tmp_path / "o"), lambda: None)
    watchdog = Watchdog(0, record)
    assert watchdog.every_s == 10.0
    assert os.listdir(tmp_path) == []
