"""Evaluations in jobs: after a pretraining, shared by two nodes, going on after a warning."""

import pytest

from tests.slurm.cluster import until
from tests.slurm.user import SlurmRun
from tests.slurm.whole import read_json, read_json_line

pytestmark = pytest.mark.slurm
SAMPLE = "data/fashion-mnist-sample"


def evaluate(user, *words, **variables):
    """Queue it after the pretraining that the user submits; return both."""
    sets = ("--data", f"{SAMPLE}/test-000000.tar", "--test", f"{SAMPLE}/test-000001.tar")
    more = ("--measures", "knn", "--cache-dir", user.folder / "cache", "--batch-size", "32")
    run = user.submit("--then", "evaluate", *sets, *more, *words, **variables)
    out = run.folder / "evaluation/frozen-fashion-mnist-sample"
    return run, SlurmRun(user.cluster, out, read_json_line(out / "jobs.jsonl")["job"])


def written(found):
    """The blocks of features that were written, of all lives and processes."""
    return [line for line in found.log.splitlines() if line.startswith("written ")]


def test_20_an_evaluation_follows_its_run_and_goes_on_after_a_warning(user):
    run, found = evaluate(user, "random", "--nodes", "2", EXTRACT_S=0.5)
    assert user.cluster.show(found.job)["JobState"] == "PENDING"
    run.finish()
    until(lambda: written(found), "the first features", 120)
    assert f"evaluation {found.folder}: RUNNING job {found.job} on" in describe_with(user, run)
    user.cluster.ask("scancel", "--signal=USR1", found.job)
    assert found.finish()["Restarts"] == "1"
    assert "queued again: asked to stop, what it computed is kept" in found.log
    assert len(written(found)) == len({*written(found)})  # none was computed twice
    subjects = read_json(found.folder / "summary.json")["subjects"]
    assert [one["what"] for one in subjects] == [str(run.folder), "random"]
    assert f"evaluation {found.folder}: finished job {found.job}" in describe_with(user, run)


@pytest.mark.slow
def test_20_of_a_run_that_fails_nothing_is_evaluated(user):
    run, found = evaluate(user, SLOW_S=0.2)
    run.reach(2)
    user.cluster.ask("scancel", run.job)
    run.wait("CANCELLED", seconds=60)
    assert found.wait("CANCELLED", "FAILED", seconds=60)["JobState"] == "CANCELLED"
    assert not (found.folder / "summary.json").exists()


def describe_with(user, run):
    """What `ssl-swin status` says of a run at this cluster."""
    _, said = user.ask(*user.program, "status", run.folder)
    return said
