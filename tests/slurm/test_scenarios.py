"""What happens to jobs on clusters, with real training: a run loses nothing and never hangs."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import until
from tests.slurm.conftest import (
    CONFIG,
    STEPS,
    SlurmRun,
    assert_no_step_lost,
    assert_whole,
    losses,
    read_json,
    read_json_line,
)

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
    run = user.submit("--data.num_workers", "2", SLOW_S=0.3, SLOW_RANK=1)
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
    measured = (*two_epochs, "--data.val_shards", "data/fashion-mnist-sample/test-000001.tar")
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
    loaders = ("--data.num_workers", "2")
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


def test_13_scancel_saves_and_is_the_end(user):
    run = user.submit(SLOW_S=0.1)
    run.reach(12)
    user.cluster.ask("scancel", run.job)
    run.wait("CANCELLED", seconds=30)
    done = run.steps()[-1] + 1
    until(lambda: run.lines("checkpoints")[-1]["step"] == done, "the last checkpoint")
    time.sleep(8)  # a requeued job would be pending again by now
    found = run.wait("CANCELLED")
    assert found["Restarts"] == "0"


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


@pytest.mark.slow
def test_15_a_sweep_has_folders_apart_and_requeues_one_task(user):
    sweep = ("--array", "seed=0,1", "--nodes", "1")
    run = user.submit(*sweep, SLOW_S=0.2)
    first, second = (
        SlurmRun(user.cluster, run.folder / f"seed={seed}", f"{run.job}_{seed}") for seed in (0, 1)
    )
    first.reach(5)
    second.reach(5)
    user.cluster.ask("scancel", "--signal=USR1", first.job)
    assert first.finish()["Restarts"] == "1"
    assert second.finish()["Restarts"] == "0"
    for one in (first, second):
        assert one.steps() == list(range(STEPS))
    assert losses(first.folder) != losses(second.folder)


@pytest.mark.slow
def test_15_a_chain_goes_on_after_success_only(user):
    config = user.folder / "finetune.yaml"
    data = CONFIG["data"] | {"rand_augment": "", "erasing": 0.0}
    optim = CONFIG["optim"] | {"epochs": 1}
    rest = {"run_dir": str(user.folder / "finetune"), "num_classes": 10}
    content = {**CONFIG, **rest, "data": data, "optim": optim}
    del content["mask"]
    config.write_text(yaml.safe_dump(content))
    run = user.submit("--then", "finetune", config, DIE_RANK=1, DIE_STEP=12, DIE_LIVES=1)
    later = read_json_line(user.folder / "finetune/jobs.jsonl")
    assert user.cluster.show(later["job"])["JobState"] == "PENDING"
    run.reach(15, life=2)  # after a failure that was tried again
    assert user.cluster.show(later["job"])["JobState"] == "PENDING"
    run.finish()
    assert user.cluster.wait(later["job"], "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert read_json(user.folder / "finetune/summary.json")["start"] == str(run.folder)


def test_16_mistakes_are_one_line_within_seconds(user):
    began = time.monotonic()
    train = [*user.program, "pretrain", str(user.config), "--run_dir", str(user.folder / "wrong")]
    two = ["--training.num_nodes", "2"]

    log = user.folder / "alone.out"
    script = "#!/bin/sh\n" + " ".join([*train, *two]) + "\n"
    options = ("--nodes=2", "--ntasks-per-node=1", f"--output={log}", f"--chdir={Path.cwd()}")
    job = user.cluster.sbatch(script, *options, environment=user.environment())
    found = user.cluster.wait(job, "FAILED", "COMPLETED", seconds=60)
    assert found["ExitCode"] == "2:0"
    assert "put srun before the command" in log.read_text()

    def said(*srun: str) -> str:
        status, text = user.ask("srun", *srun)
        assert status == 2
        (line, *_) = (one for one in text.splitlines() if one.startswith("error: "))
        return line

    assert "--ntasks-per-node=1 instead of -n" in said("-n2", *train, *two)
    wrong = said("--nodes=2", "--ntasks-per-node=1", *train)
    assert "SLURM started 1 processes on each of 2 nodes" in wrong
    shell = ("bash", "-c", " ".join([*train, *two]))
    assert "is named 'bash'" in said("--nodes=2", "--ntasks-per-node=1", *shell)
    assert not (user.folder / "wrong").exists()
    assert time.monotonic() - began < 60


def test_16_a_job_submitted_from_inside_another_is_itself(user):
    words = [*user.program, "submit", "pretrain", user.config, "--cluster", user.defaults]
    words += ["--nodes", "2", "--tasks-per-node", "1", "--sbatch=--hold"]
    outer = ("srun", "--nodes=1", "--ntasks-per-node=3", "--job-name=outer")
    only_first = ("bash", "-c", 'if [ "$SLURM_PROCID" = 0 ]; then exec "$@"; fi', "-")
    status, said = user.ask(*outer, *only_first, *words)
    assert status == 0, said
    job = read_json_line(user.folder / "run/jobs.jsonl")["job"]
    found = user.cluster.show(job)
    assert (found["NumNodes"], found["NumTasks"]) == ("2-2", "2")  # of the outer: 1 and 3
    assert found["JobName"] == "ssl-pretrain"
    status, said = user.ask(*words)  # into a folder that waits for its job
    assert (status, f"belongs to job {job}, which is PENDING" in said) == (2, True)


def test_16_a_mistake_in_a_submission_queues_nothing(user, straight):
    words = [*user.program, "submit", "pretrain", user.config, "--cluster", user.defaults]
    before = user.cluster.ask("squeue", "--noheader")
    for wrong, answer in (
        (("--optim.epochs", "many"), "epochs"),
        (("--run_dir", straight(), "--seed", "1"), "seed"),  # another run's folder
        (("--nodes", "11", "--tasks-per-node", "1"), "11 processes"),  # of 10 lanes
    ):
        status, said = user.ask(*words, *wrong, seconds=30)
        assert status == 2
        assert said.startswith("error: ")
        assert answer in said
    assert not (user.folder / "run").exists()
    assert user.cluster.ask("squeue", "--noheader") == before
