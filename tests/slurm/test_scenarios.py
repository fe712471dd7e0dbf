"""What happens to jobs on clusters, with real training: a run loses nothing and never hangs."""

import os
import signal
import time

import pytest

from tests.slurm.cluster import until
from tests.slurm.user import STEPS
from tests.slurm.whole import assert_no_step_lost, assert_whole

pytestmark = pytest.mark.slurm


@pytest.mark.slow
def test_01_two_nodes_with_one_task_for_each_gpu(user, straight):
    run = user.submit("--gpus-per-node", "2", "--tasks-per-node", "2")
    found = run.finish()
    assert (found["NumNodes"], found["NumTasks"], found["Restarts"]) == ("2", "4", "0")
    assert found["TresPerNode"] == "gres:gpu:2"
    assert [line["world_size"] for line in run.lines("lives")] == [4]
    assert all(run.steps(rank) == list(range(STEPS)) for rank in range(4))
    assert_whole(run.folder, straight())


def test_02_a_warning_in_mid_training(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert "queued again: asked to stop, saved at step" in run.log
    assert len(run.lines("lives")) == 2
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


def test_03_a_warning_with_a_slow_rank(user, straight):
    run = user.submit(SLOW_S=0.3, SLOW_RANK=1)
    run.reach(3)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    run.wait("PENDING", seconds=30)
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_04_a_warning_with_loader_processes_and_a_slow_rank(user, straight):
    run = user.submit("--data.num-workers", "2", SLOW_S=0.3, SLOW_RANK=1)
    run.reach(8)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_05_a_warning_during_imports(user, straight):
    run = user.submit(LATE_S=3)
    until(lambda: run.log.count("imports") == 2, "both ranks to import", 60)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_06_a_warning_during_validation(user, straight):
    two_epochs = ("--data.shards", "data/fashion-mnist-sample/test-000000.tar", "--optim.epochs=2")
    measured = (*two_epochs, "--data.val-shards", "data/fashion-mnist-sample/test-000001.tar")
    run = user.submit(*measured, MEASURE_S=0.3)
    until(lambda: "measuring" in run.log, "the first measurement", 120)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run, num_steps=44)  # of 1,100 images, twice
    assert_whole(run.folder, straight(*measured))
    heldout = [line["step"] for line in run.lines("metrics") if "heldout/heldout_loss" in line]
    assert heldout == [22, 44]


@pytest.mark.slow
def test_06_a_warning_during_a_save(user, straight):
    run = user.submit(SLOW_S=0.1, SAVE_S=3)
    until(run.saves, "a half-written checkpoint", 120, 0.02)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    assert run.finish()["Restarts"] == "1"
    assert run.lines("lives")[1]["step"] >= 10  # the save was not interrupted
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_07_a_real_time_limit(user, straight):
    run = user.submit("--time", "1", "--warning", "30", SLOW_S=1.5)
    assert int(run.finish(seconds=480)["Restarts"]) >= 2  # a life has 30 s and 40 steps take 60 s
    assert "TIME LIMIT" not in run.log
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


def test_08_a_preemption_with_loader_processes_and_a_slow_rank(user, straight):
    loaders = ("--data.num-workers", "2")
    run = user.submit("--partition", "spare", *loaders, SLOW_S=0.2, SLOW_RANK=1)
    run.reach(12)
    options = ("--nodes=4", "--exclusive", "--output=/dev/null")
    user.cluster.sbatch("#!/bin/sh\nsleep 1\n", *options, environment=user.environment())
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_09_a_preemption_that_is_faster_than_the_save(user, straight):
    run = user.submit("--partition", "spare", SLOW_S=0.1, SAVE_S=100, SAVE_NUMBER=1)
    run.reach(12)
    options = ("--nodes=4", "--exclusive", "--output=/dev/null")
    user.cluster.sbatch("#!/bin/sh\nsleep 1\n", *options, environment=user.environment())
    until(run.saves, "a half-written checkpoint", 30, 0.02)
    assert run.finish()["Restarts"] == "1"
    assert [line["step"] for line in run.lines("lives")] == [0, 10]  # the save before
    assert_whole(run.folder, straight())


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1], ids=["the node of the script", "another node"])
def test_10_the_loss_of_a_node(user, straight, place):
    run = user.submit(SLOW_S=0.2)
    run.reach(12)
    node = list(user.cluster.nodes)[place]
    user.cluster.fail(node)
    found = run.finish()
    assert found["Restarts"] == "1"
    assert node not in run.nodes()
    lives = [line["step"] for line in run.lines("lives")]
    assert lives[0] == 0
    assert lives[1] in (10, 20)  # from the last save
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_10_a_run_goes_on_with_the_nodes_that_are_left(user, straight):
    first, *others = user.cluster.nodes
    run = user.submit("--nodes", "1-2", "--tasks-per-node", "2", SLOW_S=0.2)
    run.reach(12)
    away = ("scontrol", "update", f"NodeName={','.join(others)}")
    user.cluster.ask(*away, "State=DRAIN", "Reason=test")
    try:
        user.cluster.ask("scancel", "--signal=USR1", run.job)
        found = run.finish()
    finally:
        user.cluster.ask(*away, "State=RESUME")
    assert (found["Restarts"], found["NodeList"]) == ("1", first)
    assert [line["world_size"] for line in run.lines("lives")] == [4, 2]
    assert_whole(run.folder, straight())


@pytest.mark.slow
@pytest.mark.parametrize("num_nodes", [1, 2])
def test_11_a_node_that_lost_its_cable(user, straight, num_nodes):
    if not user.cluster.namespaces:
        pytest.skip("without the rights for namespaces a node has no cable to be cut")
    node = list(user.cluster.nodes)[num_nodes - 1]
    run = user.submit("--nodes", num_nodes, SLOW_S=1.5)  # the rest takes 40 s
    run.reach(12)
    user.cluster.cut(node)
    try:
        until(lambda: len(run.lines("lives")) == 2, "the second life", 120)
        assert user.cluster.states()[node] == "down"
        if num_nodes == 1:  # the first life went on alone; it leaves the folder to the second
            until(lambda: any(end["status"] == 3 for end in run.lines("ends")), "its end", 60)
    finally:
        user.cluster.join(node)
    found = run.finish()
    assert (found["Restarts"], node in run.nodes()) == ("1", False)
    assert run.lines("ends")[-1]["status"] == 0
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_12_a_rank_that_dies_after_progress_is_tried_again(user, straight):
    run = user.submit(DIE_RANK=1, DIE_STEP=12, DIE_LIVES=1)
    assert run.finish()["Restarts"] == "1"
    assert "but got from step 0 to 10; failure 1 in a row" in run.log
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_12_a_rank_that_takes_more_memory_than_it_has_is_tried_again(user, straight):
    dies = {"DIE_RANK": 1, "DIE_STEP": 12, "DIE_LIVES": 1, "DIE_MB": 2000}
    run = user.submit("--sbatch=--mem=1500M", **dies)
    assert run.finish()["Restarts"] == "1"
    assert "but got from step 0 to 10; failure 1 in a row" in run.log
    assert_whole(run.folder, straight())


@pytest.mark.slow
def test_14_where_requeueing_is_forbidden_the_job_fails_and_says_so(user):
    run = user.submit("--sbatch=--no-requeue", SLOW_S=0.1)
    run.reach(12)
    user.cluster.ask("scancel", "--signal=USR1", run.job)
    found = run.wait("FAILED", "COMPLETED", "PENDING", seconds=60)
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "75:0")
    assert "could not be queued again; what it saved is in" in run.log
    assert run.lines("checkpoints")[-1]["step"] == run.steps()[-1] + 1


@pytest.mark.slow
def test_14_where_the_controller_is_away_it_is_asked_again(user, straight):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    user.cluster.fail("head")
    for pid in run.ranks():
        os.kill(pid, signal.SIGUSR1)
    until(lambda: "asked to stop, saved at step" in run.log, "the verdict", 30)
    time.sleep(5)
    user.cluster.start("head")
    assert run.finish()["Restarts"] == "1"
    assert_no_step_lost(run)
    assert_whole(run.folder, straight())
