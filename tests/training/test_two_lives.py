"""Of two lives in one run folder the one that started last writes, and the other leaves."""

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ssl_swin.config.run import PretrainConfig
from ssl_swin.record.lines import read_lines
from ssl_swin.record.owner import LostOwnership, Ownership
from ssl_swin.training.checkpoint_file import FORMAT, read_checkpoint, write_checkpoint
from tests.training import stops
from tests.training.launch import PATIENCE_S, finish, pretrain_config, start, train


def build(run_dir: Path, shards: Path, devices: int = 1) -> PretrainConfig:
    config = pretrain_config(run_dir, shards, devices=devices, panel_every_epochs=0)
    return replace(config, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


def test_a_claim_that_comes_during_a_save_keeps_the_newer_life_s_checkpoint(tmp_path):
    path, checkpoint = tmp_path / "owner.json", tmp_path / "last.ckpt"
    old = Ownership(path)
    old.claim({"life": 1})
    write_checkpoint(checkpoint, {"format": FORMAT, "step": 9}, old.require)
    Ownership(path).claim({"life": 2})
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
