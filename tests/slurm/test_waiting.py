"""Jobs that are suspended, warned while they wait, or lose their shell or their folder."""

import os
import signal
import time

import pytest

from ssl_swin.cluster.status import describe
from ssl_swin.record.run_folder import RunFolder
from tests.slurm.cluster import until
from tests.slurm.user import SlurmRun
from tests.slurm.whole import assert_no_step_lost, assert_whole, drawn_losses

pytestmark = pytest.mark.slurm


def test_a_suspended_job_goes_on(user, straight):
    run = user.submit("--training.step-timeout-s", "8", SLOW_S=0.2)
    run.reach(12)
    user.cluster.ask("scontrol", "suspend", run.job)
    run.wait("SUSPENDED", seconds=30)
    time.sleep(15)  # longer than a step may take
    user.cluster.ask("scontrol", "resume", run.job)
    assert run.finish()["Restarts"] == "0"
    (end,) = run.lines("ends")
    assert (end["reason"], end["suspended_s"] > 8) == ("finished", True)
    assert run.log.count("a suspended job?") == 2
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.parametrize(
    "num_workers", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["alone", "loader"]
)
def test_a_warning_while_images_are_waited_for(user, straight, num_workers):
    loader = ("--data.num-workers", num_workers)
    run = user.submit(*loader, STALL_RANK=1, STALL_READ=12)
    until(lambda: "stalled" in run.log, "a read that is not answered", 120)
    run.reach(12)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    run.wait("PENDING", seconds=40)
    last = run.lines("checkpoints")[-1]
    assert (last["step"], last["reasons"]) == (12, ["stop"])
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_a_warning_while_ranks_look_for_each_other(user, straight):
    run = user.submit(LATE_S=20, LATE_RANK=1)
    until(lambda: "imports" in run.log, "the imports", 60)
    time.sleep(10)  # rank 0 waits in a library
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert_whole(run.folder, straight())


@pytest.mark.parametrize(
    "to", ["--batch", pytest.param("--full", marks=pytest.mark.slow)], ids=["batch", "full"]
)
def test_a_warning_to_the_shell_reaches_the_tasks(user, straight, to):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    user.cluster.ask("scancel", to, "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert "queued again: asked to stop, saved at step" in run.log
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_a_killed_shell_is_the_end_and_the_same_command_goes_on(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    os.kill(run.shell(), signal.SIGKILL)
    run.wait("FAILED", "COMPLETED", "CANCELLED", "NODE_FAIL", seconds=60)
    done = run.steps()[-1] + 1
    again = user.submit()
    again.finish()
    lives = run.lines("lives")
    assert lives[1]["step"] == done or lives[1]["step"] == 10  # where SIGTERM came first, or not
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_a_folder_that_is_moved_away_ends_the_life_and_is_not_begun_anew(user, straight):
    run = user.submit("--sbatch=--no-requeue", SLOW_S=0.1)
    run.reach(12)
    away = run.folder.with_name("moved")
    run.folder.rename(away)
    moved = SlurmRun(user.cluster, away, run.job)
    moved.wait("FAILED", "COMPLETED", seconds=120)
    assert not run.folder.exists()
    assert "the run folder was moved or deleted while the run went on" in moved.log
    away.rename(run.folder)
    user.submit().finish()
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_a_clock_that_is_ahead_in_one_life_hides_nothing(user, straight):
    run = user.submit(SLOW_S=0.1, CLOCK_DAYS=3)
    for life, step in ((1, 10), (2, 20)):
        run.reach(step, life)
        user.cluster.ask("scancel", "--signal=USR1", run.job)
        until(lambda life=life: len(run.lines("lives")) > life, f"life {life + 1}", 120)
    run.finish()
    assert len({point.wall_time // 86400 for point in drawn_losses(run.folder)}) > 1
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_of_two_starts_at_once_each_has_its_own_number_and_end(user, straight):
    run = user.submit(SLOW_S=2)
    run.reach(3)
    (script,) = run.folder.glob("*.sbatch")
    other = user.cluster.sbatch(script.read_text(), environment=user.environment())
    user.cluster.wait(run.job, "FAILED", "COMPLETED", seconds=180)
    user.cluster.wait(other, "COMPLETED", "FAILED", seconds=240)
    assert [line["life"] for line in run.lines("lives")] == [1, 2]
    told = describe(RunFolder(run.folder)).splitlines()
    assert told[1].startswith("  life 1: from step 0")
    assert "lost ownership" in told[1]
    assert told[2].endswith(": finished")
    assert_whole(run.folder, straight())
