"""Processes that end in every way; they train nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@pytest.fixture
def begin(tmp_path):
    """Start as many ranks as there are acts; return the process above them when all are there."""

    def begin(*acts):
        command = [sys.executable, str(ROOT / "tests/cluster/ranks.py"), str(len(acts)), *acts]
        variables = os.environ | {"PYTHONPATH": str(ROOT), "HERE": str(tmp_path)}
        # In a session of its own, as a terminal gives one.
        started = subprocess.Popen(
            command, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE_S
        while len(ranks(tmp_path)) < len(acts) and started.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return started

    return begin


def ranks(folder):
    """Return the processes of the ranks, by their numbers, in order."""
    return [int(path.suffix[1:]) for path in sorted(folder.iterdir())]


def ended(started):
    _, said = started.communicate(timeout=PATIENCE_S)
    return started.returncode, said


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("acts", "status"),
    [
        (("0", "0"), 0),
        (("75", "75", "75"), 75),
        (("75", "hear"), 75),  # one that was asked alone before the first step
        (("hear", "75"), 75),
        (("2", "2"), 2),
        (("3", "3"), 3),
        (("1", "1"), 1),
        (("1", "deaf"), 1),  # it hangs, and is ended
        (("deaf", "2"), 2),
        (("hear", "7"), 1),  # such as a library's status
        (("deaf", "kill9"), 1),
        (("kill9", "deaf"), 1),
        (("late", "kill11"), 0),  # what happens to others while they leave is no failure
    ],
)
def test_the_status_is_that_of_the_run(begin, acts, status):
    assert ended(begin(*acts))[0] == status


def test_a_rank_that_dies_is_named(begin):
    assert ended(begin("deaf", "kill9")) == (1, "error: rank 1 was ended by SIGKILL\n")


def test_what_all_ranks_say_stands_there_once(begin):
    assert ended(begin("say", "say", "say")) == (2, "the same\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize("acts", [("hear", "hear"), ("early", "hear")])
def test_a_signal_to_the_process_above_is_handed_on(begin, acts, number):
    started = begin(*acts)
    os.kill(started.pid, number)
    assert ended(started) == (75, "")


def test_ctrl_c_of_a_terminal_reaches_all_and_is_one(begin):
    started = begin("hear", "hear")
    os.killpg(started.pid, signal.SIGINT)
    assert ended(started) == (75, "")


def test_a_second_ctrl_c_ends_what_does_not_leave(begin, tmp_path):
    started = begin("deaf", "deaf")
    os.kill(started.pid, signal.SIGINT)
    while started.poll() is None:
        os.kill(started.pid, signal.SIGINT)
        time.sleep(0.05)
    assert ended(started)[0] in (130, -signal.SIGINT)  # one may come while it leaves
    assert not any(map(is_alive, ranks(tmp_path)))


def test_ranks_whose_process_above_is_killed_are_asked_to_stop(begin, tmp_path):
    started = begin("hear", "hear")
    started.kill()
    ended(started)
    deadline = time.monotonic() + PATIENCE_S
    while any(map(is_alive, ranks(tmp_path))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
