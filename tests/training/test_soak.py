"""200,000 samples through loader workers that are killed again and again: none lost, none extra."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.record.lines import read_lines
from tests.training.conftest import write_shards
from tests.training.launch import PATIENCE_S, PROCESSES, finish

COUNTS = [3, 700, 41, 1, 255, 1000]
BATCH, LANES, BLOCK, SEED = 250, 10, 64, 0
STEPS_PER_EPOCH, EPOCHS = 8, 100
STEPS = STEPS_PER_EPOCH * EPOCHS
NUM_KILLS = 10

OPTIONS = [
    "configs/pretrain/demo.yaml",
    "--data.val-shards=null",
    f"--data.num-lanes={LANES}",
    f"--data.block-size={BLOCK}",
    "--data.num-workers=2",
    "--model.img-size=16",
    "--model.window-size=2",
    "--model.embed-dim=8",
    "--model.depths=[1,1]",
    "--model.num-heads=[1,1]",
    "--optim.warmup-epochs=1",
    f"--optim.epochs={EPOCHS}",
    f"--seed={SEED}",
    f"--training.global-batch-size={BATCH}",
    f"--training.micro-batch-size={BATCH}",
    "--training.checkpoint-every-steps=15",
    "--training.log-every-steps=100",
    "--training.num-threads=1",
    "--training.ledger=true",
]


def command(arguments: list[str], stderr: Path) -> None:
    """Run a command of the package as its own process does, with its words in a file."""
    from ssl_swin.__main__ import main

    multiprocessing.set_start_method("fork", force=True)  # for loader workers, as by default
    sys.stderr.flush()
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv = ["ssl-swin", *arguments]
    main()


def workers_of(pid: int) -> list[int]:
    """Forked children, which have its command line: not those of multiprocessing itself."""
    try:
        mine = Path(f"/proc/{pid}/cmdline").read_bytes()
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
        return [c for c in children if Path(f"/proc/{c}/cmdline").read_bytes() == mine]
    except FileNotFoundError:
        return []


def last_step(run_dir: Path) -> int:
    """Steps that are in the ledger so far, over all lives."""
    lines = read_lines(run_dir / "ledger" / "rank-0000.jsonl")
    return lines[-1]["step"] + 1 if lines else 0


def kill_a_worker(process, run_dir: Path, step: int, draw: random.Random) -> None:
    """Wait for a step to be done, and a moment more, and kill one of the loader workers."""
    deadline = time.monotonic() + PATIENCE_S
    while last_step(run_dir) < step or len(workers_of(process.pid)) < 2:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(draw.random() * 0.2)
    os.kill(draw.choice(workers_of(process.pid)), signal.SIGKILL)


@pytest.mark.slow
def test_killed_workers_end_a_run_cleanly_and_it_goes_on_exactly(tmp_path):
    shards, run_dir = write_shards(tmp_path / "shards", COUNTS), tmp_path / "run"
    arguments = ["pretrain", *OPTIONS, f"--data.shards={shards}", f"--run-dir={run_dir}"]
    draw = random.Random(0)
    for life, step in enumerate([*sorted(draw.sample(range(5, STEPS - 60), NUM_KILLS)), None]):
        told = tmp_path / f"stderr-{life}"
        process = PROCESSES.Process(target=command, args=(arguments, told))
        process.start()
        if step is None:
            break
        kill_a_worker(process, run_dir, step, draw)
        assert finish([process]) == {1}, told.read_text()
        errors = [line for line in told.read_text().splitlines() if "rror" in line]
        assert len(errors) == 1, errors
        assert errors[0].startswith("error: DataLoader worker ")
        assert errors[0].endswith("The same command goes on from the last save.")
    assert finish([process]) == {0}, told.read_text()
    counts = open_shards(str(shards)).counts
    expected = Shares(SetOrder(counts, SEED, BATCH, LANES, BLOCK), 0, 1, 0, STEPS)
    found = defaultdict(list)
    lines = read_lines(run_dir / "ledger" / "rank-0000.jsonl")
    for line in lines:
        found[line["step"]].append(line["ids"])
    assert {line["life"] for line in lines} == set(range(1, NUM_KILLS + 2))
    assert len(lines) > STEPS  # what was not saved is done again
    assert sorted(found) == list(range(STEPS))
    assert sum(len(ids[0]) for ids in found.values()) == 200_000
    for step, share in enumerate(expected):
        assert all(ids == share.index.tolist() for ids in found[step])
