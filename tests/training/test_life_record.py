import json
import time

import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.record.lines import read_lines
from ssl_swin.record.lives import count_lives
from ssl_swin.record.owner import LostOwnership, Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.environment import environment
from ssl_swin.training.life_record import LifeRecord, SlurmJob, note_failed_start, slurm_job
from tests.training.tiny import fit, learner


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def record(folder, life=1, prepare=lambda: None):
    return LifeRecord(folder, life, Ownership(folder.owner), prepare)


def test_each_life_writes_down_its_beginning_and_its_end(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    for life in (1, 2):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(life - 1))
        module, kept = learner(), record(folder, life)
        module.step = 5 * life
        fit(module, 2, kept)
        assert kept.end("signal SIGUSR1", 75) == 75
        assert count_lives(folder) == life
    lives = read_lines(folder.lives)
    assert all(time.time() - life.pop("at") < 600 for life in lives)
    assert all(life.pop("environment") == environment(torch.device("cpu")) for life in lives)
    where = {"world_size": 1, "job": "17", "nodes": "n[1-2]"}
    assert lives == [{"life": n, "step": 5 * n, "restart": n - 1} | where for n in (1, 2)]
    ends = read_lines(folder.ends)
    assert all(end.pop("seconds") >= 0 for end in ends)
    told = {"reason": "signal SIGUSR1", "status": 75}
    assert ends == [{"life": n, "step": 5 * n + 2} | told for n in (1, 2)]
    assert json.loads(folder.owner.read_text())["restart"] == 1


def test_of_two_starts_at_once_the_later_one_is_a_life_more(folder):
    first, second = record(folder, 1), record(folder, 1)
    fit(learner(), 1, first)
    fit(learner(), 1, second)
    assert (first.life, second.life) == (1, 2)
    first.end("lost ownership", 3)
    second.end("finished", 0)
    assert [line["life"] for line in read_lines(folder.lives)] == [1, 2]
    ends = {line["life"]: line["reason"] for line in read_lines(folder.ends)}
    assert ends == {1: "lost ownership", 2: "finished"}


def test_a_start_that_has_no_line_yet_is_counted_by_its_claim(folder):
    first, second = record(folder), record(folder)
    first.prepare = lambda: fit(learner(), 1, second)  # in the middle of the first one's start
    fit(learner(), 1, first)
    assert (first.life, second.life) == (1, 2)


def test_a_life_of_a_job_that_ends_before_its_first_step_says_why(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    folder.root.mkdir()
    folder.jobs.touch()
    record(folder).end("RuntimeError: no GPU", 1)
    why = {"reason": "RuntimeError: no GPU", "status": 1, "node": "n2"}
    assert read_lines(folder.ends) == [{"job": "17", "restart": 0} | why]


def test_only_the_first_reason_is_kept(folder):
    kept = record(folder)
    fit(learner(), 1, kept)
    kept.end("step time-out", 1)
    assert kept.end("finished", 0) == 0
    assert [line["reason"] for line in read_lines(folder.ends)] == ["step time-out"]


def test_a_life_that_never_began_writes_nothing(folder):
    assert record(folder).end("KeyError", 1) == 1
    assert not folder.root.exists()


def test_the_folder_is_claimed_before_it_is_prepared_and_written_to(folder):
    def prepare():
        assert json.loads(folder.owner.read_text())["life"] == 1
        assert not folder.lives.exists()

    fit(learner(), 1, record(folder, 3, prepare))
    assert count_lives(folder) == 1


def test_a_life_that_comes_too_late_leaves_the_folder_as_it_is(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    Ownership(folder.owner).claim({"job": "17", "restart": 4})
    before = folder.owner.read_bytes()
    kept = record(folder, prepare=lambda: pytest.fail("the folder is another's"))
    with pytest.raises(LostOwnership):
        fit(learner(), 1, kept)
    kept.end("lost ownership", 3)
    assert [path.name for path in folder.root.iterdir()] == ["owner.json"]
    assert folder.owner.read_bytes() == before


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, SlurmJob(None, None, None)),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}, SlurmJob("7", 0, "n[1-2]")),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "3"}, SlurmJob("7", 3, None)),
    ],
)
def test_the_job_is_what_slurm_says(monkeypatch, environment, job):
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert slurm_job() == job


def test_a_start_of_a_job_that_fails_is_written_down_where_the_run_is(folder, monkeypatch):
    note_failed_start(folder, UserError("seed"))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    note_failed_start(folder, UserError("seed"))
    assert not folder.root.exists()
    folder.root.mkdir()
    folder.jobs.touch()
    note_failed_start(folder, UserError("seed"))
    start = {"job": "17", "restart": 0, "reason": "UserError: seed", "status": 2, "node": "n2"}
    assert read_lines(folder.ends) == [start]


def test_an_end_that_cannot_be_written_down_stands(folder, capsys):
    kept = record(folder)
    fit(learner(), 1, kept)
    folder.ends.mkdir()
    assert kept.end("signal SIGUSR1", 75) == 75
    assert "cannot be written down" in capsys.readouterr().out
