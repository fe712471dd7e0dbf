"""A run started in every way: by itself, by torchrun, or by hand. All end with the same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_swin.record.lines import read_lines
from tests.conftest import TINY_MODEL
from tests.training.test_interruption import assert_equal, checkpoint

ROOT = Path(__file__).parents[2]
PROGRAM = ("-m", "ssl_swin")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
PATIENCE_S = 600


@pytest.fixture
def begin(tiny_shards, tmp_path):
    """Start 16 steps on two processes in a folder of this name; return the first process."""
    shards = tiny_shards([40, 3, 85])

    def begin(name, *launcher, steps=16, **settings):
        words = [
            *("pretrain", "configs/pretrain/demo.yaml", f"--run-dir={tmp_path / name}"),
            *(f"--data.shards={shards}", "--data.val-shards=null", "--training.accelerator=cpu"),
            *(f"--optim.epochs={steps // 16}", "--optim.warmup-epochs=0"),
            *("--training.global-batch-size=8", "--training.checkpoint-every-steps=5"),
            *("--training.panel-every-epochs=0", "--training.log-every-steps=1", *TINY_MODEL),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]
        variables = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        return subprocess.Popen(
            [sys.executable, *launcher, *words],
            cwd=ROOT,
            env=variables | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def ended(started):
    said, _ = started.communicate(timeout=PATIENCE_S)
    print(said)
    return started.returncode


def reach(run, step, life=1):
    """Wait until a life has done so many steps."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        lines = read_lines(run / "lives.jsonl")
        points = read_lines(run / "metrics.jsonl")
        if len(lines) == life and points and points[-1]["step"] >= step:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{run} did not come to step {step}")


def assert_same_weights(one, other):
    before, after = checkpoint(one), checkpoint(other)
    for part in ("model", "optimizer", "step", "samples_seen"):
        assert_equal(before[part], after[part], part)


def test_its_own_processes_and_those_of_torchrun_end_with_the_same_weights(begin, tmp_path):
    assert ended(begin("own", *PROGRAM, **{"training.devices": 2})) == 0
    assert ended(begin("torchrun", *TORCHRUN, *PROGRAM)) == 0
    assert_same_weights(tmp_path / "own", tmp_path / "torchrun")
    for name in ("own", "torchrun"):
        assert [line["world_size"] for line in read_lines(tmp_path / name / "lives.jsonl")] == [2]


@pytest.mark.slow
def test_stopped_and_killed_it_goes_on_with_any_of_them(begin, tmp_path):
    own, steps, run = {"training.devices": 2}, 320, tmp_path / "run"
    assert ended(begin("straight", *PROGRAM, steps=steps, **own)) == 0

    started = begin("run", *TORCHRUN, *PROGRAM, steps=steps)
    reach(run, 20)
    started.send_signal(signal.SIGTERM)
    assert ended(started) == 1  # torchrun has no other
    assert read_lines(run / "ends.jsonl")[-1]["status"] == 75

    started = begin("run", *PROGRAM, steps=steps, **own)
    reach(run, read_lines(run / "ends.jsonl")[-1]["step"] + 10, life=2)
    os.kill(children(started.pid)[1], signal.SIGKILL)
    assert ended(started) == 1

    started = begin("run", *PROGRAM, steps=steps, **own)
    reach(run, read_lines(run / "lives.jsonl")[-1]["step"] + 60, life=3)
    os.kill(children(started.pid)[0], signal.SIGTERM)  # the first rank alone
    assert ended(started) == 75

    started = begin("run", *TORCHRUN, "--max-restarts=3", *PROGRAM, steps=steps)
    reach(run, read_lines(run / "ends.jsonl")[-1]["step"] + 10, life=4)
    os.kill(children(started.pid)[1], signal.SIGUSR1)  # torchrun begins another life
    assert ended(started) == 0
    assert len(read_lines(run / "lives.jsonl")) == 5
    assert_same_weights(tmp_path / "straight", run)


def children(pid):
    """Return the processes that a process has started, in that order."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "settings", "said"),
    [
        (TORCHRUN, {"training.devices": 3}, "torchrun started 2 processes on each of 1 nodes"),
        ((), {"training.devices": 2, "data.num_lanes": 7}, "num_lanes=7 does not divide"),
    ],
)
def test_what_does_not_fit_is_said(begin, tmp_path, launcher, settings, said):
    started = begin("run", *launcher, *PROGRAM, **settings)
    text, _ = started.communicate(timeout=PATIENCE_S)
    assert f"error: {said}" in text.replace("data.num_lanes", "num_lanes")
    assert started.returncode != 0
    if not launcher:
        assert text.count("error: ") == 1
    assert not (tmp_path / "run").exists()
