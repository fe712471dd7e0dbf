"""Training processes that torchrun starts, or `ssl-swin` itself, in a job: the run is the same."""

import shlex
import sys

import pytest

from tests.slurm.cluster import until
from tests.slurm.user import STEPS, SlurmRun
from tests.slurm.whole import assert_no_step_lost, assert_whole

pytestmark = pytest.mark.slurm
ONE_A_NODE = ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1"]
ONE_FOR_ALL = (
    "--nnodes=2 --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID "
    "--rdzv-endpoint=$(scontrol show hostnames | head -n 1):29500"
)


def begin(user, launcher, *options, settings=(), **variables):
    """Queue a script of the user's own, that asks for a verdict."""
    folder = user.folder / "run"
    folder.mkdir()
    train = [user.program[1], "pretrain", user.config, "--run-dir", folder, *settings]
    words = " ".join(shlex.quote(str(word)) for word in train)
    verdict = shlex.join([*user.program, "verdict", str(folder)])
    script = f"""#!/bin/bash
{launcher} {words}
status=$?
{verdict} $status && scontrol requeue $SLURM_JOB_ID && sleep 300
exit $status
"""
    more = (f"--output={folder}/slurm-%j.out", "--open-mode=append", "--requeue", "--mem=0")
    job = user.cluster.sbatch(
        script, *options, *more, "--job-name=own", environment=user.environment(**variables)
    )
    return SlurmRun(user.cluster, folder, job)


def srun_torchrun(more):
    return f"srun --kill-on-bad-exit=0 --wait=60 {shlex.join(TORCHRUN)} {more}"


def test_19_a_torchrun_on_each_node(user, straight):
    run = begin(user, srun_torchrun(ONE_FOR_ALL), *ONE_A_NODE)
    assert run.finish()["Restarts"] == "0"
    assert [line["world_size"] for line in run.lines("lives")] == [2]
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_19_a_torchrun_on_each_node_that_is_warned(user, straight):
    run = begin(user, srun_torchrun(ONE_FOR_ALL), *ONE_A_NODE, SLOW_S=0.1)
    run.reach(12)
    user.cluster.ask("scancel", "--signal=TERM", run.job)
    assert run.finish()["Restarts"] == "1"
    assert "queued again: asked to stop, saved at step" in run.log
    assert len(run.lines("lives")) == 2
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


def test_19_torchruns_that_do_not_know_of_each_other_are_told(user):
    run = begin(user, srun_torchrun("--nnodes=1"), *ONE_A_NODE)
    said = "error: srun started torchrun 2 times, and each knows of itself alone"
    until(lambda: said in run.log, "the mistake to be told", 120)
    assert run.lines("lives") == []


@pytest.mark.slow
def test_19_a_job_of_one_task_starts_its_own_processes(user, straight):
    own = ("--training.devices", "2")
    options = ("--nodes=1", "--ntasks=1", "--cpus-per-task=2")
    run = begin(user, sys.executable, *options, settings=own)
    assert run.finish()["Restarts"] == "0"
    assert all(run.steps(rank) == list(range(STEPS)) for rank in range(2))
    assert_whole(run.folder, straight())
