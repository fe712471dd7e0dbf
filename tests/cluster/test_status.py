import json
import os
import time

import pytest

from ssl_swin.__main__ import run
from ssl_swin.cluster.status import describe
from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.owner import Ownership
from ssl_swin.record.run_folder import RunFolder
from tests.cluster.bin import write_programs


@pytest.fixture(autouse=True)
def slurm(monkeypatch, tmp_path):
    """SLURM's commands replaced: job 12 runs, 13 is completed, 14 waits, 15 was cancelled."""
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def began(folder, number, step, **more):
    append_line(folder.lives, {"life": number, "step": step, "world_size": 2, **more})


def test_a_running_run_is_told_whole(folder):
    append_line(folder.jobs, {"job": "12", "kind": "pretrain"})
    began(folder, 1, 0, job="12", restart=0, nodes="n[1-2]")
    append_line(folder.ends, {"life": 1, "step": 40, "reason": "signal SIGUSR1", "status": 75})
    append_line(folder.verdicts, {"life": 1, "requeue": True, "why": "asked to stop"})
    began(folder, 2, 40, job="12", restart=1)
    began(folder, 3, 40, job="12", restart=2, nodes=["n1", "n2"])
    folder.config.write_text("optim: {epochs: 10}\ntraining: {global_batch_size: 100}\n")
    points = {"train/loss": 0.5, "train/epoch": 2.5, "speed/images_per_s": 50.0}
    append_line(folder.metrics, {"step": 50, **points})
    append_line(folder.metrics, {"step": 50, "heldout/heldout_loss": 0.4})
    append_line(folder.checkpoints, {"step": 48, "reasons": ["steps"]})
    folder.last.parent.mkdir()
    folder.last.touch()
    os.utime(folder.last, (time.time() - 600,) * 2)
    assert describe(folder).splitlines() == [
        f"{folder.root}: RUNNING job 12 restart 2 on n[1-2] 1:00:00 to its limit",
        "  life 1: from step 0 on 2 processes, nodes n[1-2]; ended at step 40: signal SIGUSR1",
        "  life 2: from step 40 on 2 processes; ended without a word (killed)",
        "  life 3: from step 40 on 2 processes, nodes n1,n2; runs",
        "  step 50 of 200, epoch 2.50 of 10, loss 0.5000, held-out: loss 0.4000, "
        "50 images/s, about 5.0 min of training left",
        "  last checkpoint: step 48, 10.0 min ago",
    ]


@pytest.mark.parametrize(
    ("config", "minutes"),
    [
        ("model: {img_size: 64}\nprogressive:\n- {until_epoch: 5, img_size: 32}\n", "15.0"),
        ("progressive:\n- {until_epoch: 5, img_size: 32}\n", "5.0"),
        ("model: {img_size: 64}\nprogressive:\n- {until_epoch: 5}", "5.0"),
    ],
)
def test_of_growing_images_the_later_ones_take_longer(config, minutes, folder):
    began(folder, 1, 0)
    folder.config.write_text(
        f"optim: {{epochs: 10}}\ntraining: {{global_batch_size: 100}}\n{config}"
    )
    points = {"train/loss": 0.5, "train/epoch": 2.5, "speed/images_per_s": 50.0}
    append_line(folder.metrics, {"step": 50, **points})
    assert f", about {minutes} min of training left" in describe(folder)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"life": 2, "job": "13", "restart": 1}, True),
        ({"life": 1, "job": "13", "restart": 0}, False),  # life 2 has begun since
        ({"life": None, "job": "13", "restart": 2}, True),  # this one died in its imports
        ({"life": None, "job": "13", "restart": 0}, False),  # as this one, before life 2
        ({"life": None, "job": "14", "restart": 0}, True),
        ({"life": None, "job": "11", "restart": 0}, False),
    ],
)
def test_a_verdict_is_told_until_another_life_begins(folder, verdict, said):
    began(folder, 1, 0, job="11", restart=0)
    began(folder, 2, 0, job="13", restart=1)
    append_line(folder.verdicts, verdict | {"requeue": False, "why": "no memory"})
    assert ("not queued again: no memory" in describe(folder)) == said


def test_a_run_that_waits_in_the_queue_says_why(folder):
    append_line(folder.jobs, {"job": "14"})
    assert describe(folder) == f"{folder.root}: PENDING job 14 (Resources)"


def test_an_evaluation_is_told_with_its_run_or_alone(folder, capsys):
    append_line(folder.jobs, {"job": "13", "kind": "pretrain"})
    one, other = (RunFolder(folder.evaluation(name)) for name in ("frozen-a", "frozen-b"))
    append_line(one.jobs, {"job": "14", "kind": "evaluate"})
    append_line(other.jobs, {"job": "12", "kind": "evaluate"})
    append_line(other.verdicts, {"job": "12", "status": 75, "requeue": True, "why": "asked"})
    assert describe(folder).splitlines() == [
        f"{folder.root}: COMPLETED job 13 on n1",
        f"  evaluation {one.root}: PENDING job 14 (Resources)",
        f"  evaluation {other.root}: RUNNING job 12 on n[1-2] 1:00:00 to its limit; "
        "queued again: asked",
    ]
    append_line(other.verdicts, {"job": "12", "status": 0, "requeue": False, "why": "finished"})
    assert run(["status", str(other.root)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"evaluation {other.root}: finished job 12 on n[1-2]")
    assert "again" not in told


def test_an_evaluation_that_sbatch_refused_is_told_of_no_job(folder):
    append_line(folder.jobs, {"job": "13", "kind": "pretrain"})
    refused = RunFolder(folder.evaluation("frozen-a"))
    refused.root.mkdir(parents=True)
    refused.jobs.touch()
    assert len(describe(folder).splitlines()) == 1
    write_text(refused.summary, '{"kind": "frozen"}')  # evaluated without SLURM later
    assert describe(refused) == f"evaluation {refused.root}: finished"


def test_of_a_run_nothing_is_known_but_that_it_began(folder):
    append_line(folder.lives, {})
    assert describe(folder).splitlines() == [
        f"{folder.root}: no job",
        "  life 1: from step ?; ended without a word (killed)",
    ]


def test_a_run_started_by_hand_is_known_by_its_owner(folder):
    began(folder, 1, 0)
    folder.owner.write_text(json.dumps({"job": "12", "restart": 0}))
    assert describe(folder).startswith(f"{folder.root}: RUNNING job 12 on n[1-2]")
    assert "processes; runs" in describe(folder)


@pytest.mark.parametrize(("submitted", "owner"), [("13", "12"), ("12", "13")])
def test_of_two_jobs_it_is_the_one_that_lives(folder, submitted, owner):
    append_line(folder.jobs, {"job": submitted})
    began(folder, 1, 0, job=owner, restart=0)
    append_line(folder.owner, {"job": owner})
    assert "RUNNING job 12" in describe(folder)


def test_a_life_that_no_slurm_knows_runs_while_its_process_does(folder):
    began(folder, 1, 0)
    Ownership(folder.owner).claim({"life": 1})
    assert "life 1: from step 0 on 2 processes; runs" in describe(folder)
    owner = json.loads(folder.owner.read_text())
    for gone in ({"host": "elsewhere"}, {"pid": 2**22 + 1}, {"pid": None}):
        folder.owner.write_text(json.dumps(owner | gone))
        assert "ended without a word (killed)" in describe(folder)


def test_a_killed_life_has_the_status_of_its_job(folder):
    began(folder, 1, 0)
    append_line(folder.verdicts, {"life": 1, "status": 137, "requeue": True, "why": "x"})
    assert "ended without a word (killed, status 137)" in describe(folder)


def test_a_finished_run_is_finished(trained):
    _, folder = trained
    lines = describe(RunFolder(folder)).splitlines()
    assert lines[0] == f"{folder}: finished"
    assert lines[1] == "  life 1: from step 0 on 1 processes; ended at step 2: finished"
    assert lines[-1].startswith("  last checkpoint: step 2, ")


def test_the_command_prints_all_runs_or_says_that_there_are_none(tmp_path, capsys):
    assert run(["status", str(tmp_path)]) == 2
    assert f"no runs in {tmp_path}" in capsys.readouterr().err
    assert run(["status", "--evry=3"]) == 2
    assert capsys.readouterr().err == "error: unknown option --evry; did you mean --every?\n"
    append_line(tmp_path / "a/jobs.jsonl", {"job": "14"})
    append_line(tmp_path / "b/jobs.jsonl", {"job": "12"})
    assert run(["status", str(tmp_path)]) == 0
    assert [line.split(":")[1] for line in capsys.readouterr().out.splitlines() if line] == [
        " PENDING job 14 (Resources)",
        " RUNNING job 12 on n[1-2] 1",
    ]
