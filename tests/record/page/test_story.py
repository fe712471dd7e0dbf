"""One run as its folder tells it: finished, stopped, killed, going on, half written, or older."""

import os
from pathlib import Path

import pytest

from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.page.story import read_story
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary

RELEASES = Path(__file__).parents[2] / "releases"


def read(folder):
    return read_story(folder, folder.root.name, 0, read_summary(folder))


def long_ago(folder):
    for path in folder.root.glob("*.jsonl"):
        os.utime(path, (1e9, 1e9))


def test_a_finished_run_says_what_it_took(make):
    story = read(make.run(steps=100))
    assert (story.state.word, story.step, story.num_steps) == ("finished", 100, 100)
    assert (story.seconds, story.device, story.device_hours) == (3600.0, "CPU", 1.0)
    assert story.curve("train/loss")[:2] == [(10, 0.1), (20, 0.05)]
    assert story.last("train/epoch") == 10.0
    assert story.kind == "pretrain"


def test_a_run_that_goes_on_knows_how_far_it_is(make):
    story = read(make.run(steps=40, finished=False))
    assert (story.state.word, story.step, story.num_steps) == ("running", 40, 100)
    assert [(life.begin, life.end, life.tone) for life in story.lives] == [(0, 40, "running")]


def test_the_time_of_a_life_that_goes_on_is_that_until_its_last_word(make):
    folder = make.run(steps=40, finished=False)
    write_text(folder.lives, '{"life": 1, "step": 0, "world_size": 2, "at": 999999000}\n')
    long_ago(folder)
    story = read(folder)
    assert (story.seconds, story.device_hours) == (1000.0, 2000 / 3600)


def test_a_run_without_a_word_for_long_is_silent(make):
    folder = make.run(steps=40, finished=False)
    long_ago(folder)
    story = read(folder)
    assert story.state.word == "silent"
    assert "killed, or on another machine" in story.state.said


def test_each_life_says_where_it_began_and_why_it_ended(make):
    folder = make.run(steps=40, finished=False)
    for line in (
        {"life": 1, "step": 50, "reason": "signal SIGUSR1", "status": 75, "seconds": 60.0},
        {"life": 1, "step": 50, "reason": "rank 3: gone", "status": 1, "seconds": 61.0},
    ):
        append_line(folder.ends, line)
    append_line(
        folder.lives,
        {"life": 2, "step": 50, "world_size": 4, "job": "7", "restart": 1, "nodes": "n[1-2]"},
    )
    append_line(folder.lives, {"life": 3, "step": 50, "world_size": 2})
    long_ago(folder)
    first, killed, last = read(folder).lives
    assert (first.tone, first.end, first.why, first.seconds) == (
        *("stopped", 50, "signal SIGUSR1"),
        60.0,
    )
    assert (killed.tone, killed.end, killed.seconds) == ("silent", 50, None)
    assert (killed.processes, killed.place) == (4, "job 7, restart 1, on n[1-2]")
    assert (last.begin, last.end) == (50, 50)  # whatever the curves say of before


@pytest.mark.parametrize("status", [1, 2, 3, None])
def test_a_life_that_failed_makes_a_failed_run(make, status):
    folder = make.run(steps=40, finished=False)
    append_line(folder.ends, {"life": 1, "step": 40, "reason": "OutOfMemory", "status": status})
    assert read(folder).state == ("failed", "OutOfMemory")


def test_a_run_that_waits_is_queued_and_has_no_points(make):
    folder = RunFolder(make.place / "waits")
    append_line(folder.jobs, {"job": "14"})
    story = read(folder)
    assert (story.state.word, story.step, story.num_steps) == ("queued", 0, None)
    assert (story.points, story.lives, story.config) == ([], [], {})
    assert story.device == "device"


def test_what_is_half_written_or_no_number_is_left_out(make):
    folder = make.run(steps=20, finished=False)
    with folder.metrics.open("a") as file:
        file.write('{"step": 30, "train/loss": NaN, "a": true, "b": "x", "c": 1e999}\n')
        file.write('{"train/loss": 1.0}\n[1]\n{"step": 40, "train/lo')
    story = read(folder)
    assert [point["step"] for point in story.points] == [10, 20, 30]
    assert story.points[-1] == {"step": 30}


def test_the_hours_of_all_processes_are_those_of_gpus_where_points_tell_of_one(make):
    folder = make.run(steps=10)
    append_line(folder.metrics, {"step": 10, "memory/peak_allocated_gb": 11.0})
    write_text(folder.lives, '{"life": 1, "step": 0, "world_size": 8}\n')
    story = read(folder)
    assert (story.device, story.device_hours) == ("GPU", 8.0)


def test_what_a_life_wrote_down_of_its_machine_is_told_beside_what_was_always_known(make):
    folder = make.run(steps=10)
    write_text(folder.owner, '{"host": "n1", "pid": 1}')
    assert read(folder).environment == {"nodes": "n1", "processes": "1"}
    append_line(
        folder.lives,
        {"life": 2, "step": 10, "nodes": ["n1", "n2"], "environment": {"torch": "2.11.0"}},
    )
    assert read(folder).environment == {"nodes": "n1,n2", "torch": "2.11.0"}


@pytest.mark.parametrize("release", ["0.1", "0.2", "0.3"])
@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("pretrain", "pretrain", "stopped"),
        ("pretrain-2-processes", "pretrain", "stopped"),
        ("finetune", "finetune", "stopped"),
        ("finished", "pretrain", "finished"),
    ],
)
def test_runs_of_every_release_are_read(release, name, kind, word):
    story = read(RunFolder(RELEASES / release / name))
    assert (story.kind, story.state.word) == (kind, word)
    assert story.curve("train/loss")
    assert story.num_steps >= story.step > 0
    assert story.lives[0].seconds > 0
