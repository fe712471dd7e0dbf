"""Of two lives in one run folder the one that started last writes, and the other leaves."""

import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.owner import LostOwnership, Ownership
from ssl_swin.record.run_folder import read_lines
from ssl_swin.training.checkpoint import FORMAT, read_checkpoint, write_checkpoint
from tests.training import stops
from tests.training.launch import PATIENCE_S, finish, pretrain_config, start, train

FACTS = {"life": 1, "job": "17", "restart": 0}


def build(run_dir: Path, shards: Path, devices: int = 1) -> PretrainConfig:
    config = pretrain_config(run_dir, shards, devices=devices, panel_every_epochs=0)
    return replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "owner.json"


def test_the_owner_is_written_down_and_goes_on(path):
    owner = Ownership(path)
    owner.require()  # before the claim
    text = owner.claim(FACTS)
    owner.require()
    written = json.loads(path.read_text())
    assert written.items() > (FACTS | {"pid": os.getpid()}).items()
    follower = Ownership(path)
    follower.follow(text)
    assert not follower.is_lost()


def test_a_later_claim_takes_the_folder_from_all_ranks_of_the_older(path):
    first, second, follower = Ownership(path), Ownership(path), Ownership(path)
    follower.follow(first.claim(FACTS))
    second.claim(FACTS)  # the same life number, as two starts at once have
    for lost in (first, follower):
        assert lost.is_lost()
        with pytest.raises(LostOwnership, match=r'run now belongs to .*"job": "17".*writes noth'):
            lost.require()
    assert not second.is_lost()


def test_an_earlier_start_of_the_same_job_cannot_take_the_folder_back(path):
    newer, older, other = (Ownership(path) for _ in range(3))
    newer.claim(FACTS | {"restart": 1})
    with pytest.raises(LostOwnership):  # given up while it began, and still there
        older.claim(FACTS | {"restart": 0})
    newer.require()
    other.claim(FACTS | {"job": "18", "restart": 0})
    assert newer.is_lost()


def test_a_missing_file_takes_nothing_away(path):
    owner = Ownership(path)
    owner.claim(FACTS)
    path.unlink()
    assert not owner.is_lost()
    owner.require()


def test_a_claim_that_comes_during_a_save_keeps_the_newer_life_s_checkpoint(path):
    old, checkpoint = Ownership(path), path.with_name("last.ckpt")
    old.claim(FACTS)
    write_checkpoint(checkpoint, {"format": FORMAT, "step": 9}, old.require)
    Ownership(path).claim(FACTS)
    with pytest.raises(LostOwnership):
        write_checkpoint(checkpoint, {"format": FORMAT, "step": 5}, old.require)
    assert read_checkpoint(checkpoint)["step"] == 9
    assert sorted(os.listdir(path.parent)) == ["last.ckpt", "owner.json"]


def wait_for(run: Path, steps: int, processes: list) -> None:
    """Wait until the first process has done so many steps."""
    deadline = time.monotonic() + PATIENCE_S
    while len(read_lines(run / "ledger" / "rank-0000.jsonl")) < steps:
        assert time.monotonic() < deadline
        assert processes[0].is_alive()
        time.sleep(0.01)


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_started_twice_the_newer_goes_on_and_the_older_leaves(tmp_path, shards, hangs, devices):
    """The older one finds out at its next save, or, hanging, by looking."""
    config = build(tmp_path / "run", shards, devices)
    run = Path(config.run_dir)
    waits = partial(stops.wait_for_the_next_life, run)
    prepare = stops.hang_and_look_often if hangs else waits
    older = start(config, prepare=prepare)
    wait_for(run, 4, older)
    train(build(run, shards, devices))
    assert finish(older) == {3}
    straight = train(build(tmp_path / "straight", shards, devices))
    mine, theirs = (read_checkpoint(one / "checkpoints" / "last.ckpt") for one in (run, straight))
    assert mine["step"] == theirs["step"] == 8
    assert all(torch.equal(mine["model"][name], value) for name, value in theirs["model"].items())
    left = [line for line in read_lines(run / "ends.jsonl") if line["life"] == 1]
    assert {(line["reason"].rpartition(": ")[2], line["status"]) for line in left} == {
        ("lost ownership", 3)
    }
