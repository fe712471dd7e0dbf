"""What users do with jobs: cancel, sweep and chain them, and get them wrong."""

import time
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import until
from tests.slurm.user import CONFIG, STEPS, SlurmRun
from tests.slurm.whole import losses, read_json, read_json_line

pytestmark = pytest.mark.slurm


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
    train = [*user.program, "pretrain", str(user.config), "--run-dir", str(user.folder / "wrong")]
    two = ["--training.num-nodes", "2"]

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
        (("--run-dir", straight(), "--seed", "1"), "seed"),  # another run's folder
        (("--nodes", "11", "--tasks-per-node", "1"), "11 processes"),  # of 10 lanes
    ):
        status, said = user.ask(*words, *wrong, seconds=30)
        assert status == 2
        assert said.startswith("error: ")
        assert answer in said
    assert not (user.folder / "run").exists()
    assert user.cluster.ask("squeue", "--noheader") == before
