import os
import threading
from contextlib import suppress

import pytest

from ssl_swin import phases
from ssl_swin.phases import Phase, duration, tell


@pytest.fixture
def soon(monkeypatch):
    """A phase is told at once, and again soon."""
    monkeypatch.setattr(phases, "FIRST_S", 0.0)
    monkeypatch.setattr(phases, "EVERY_S", 0.01)


@pytest.fixture
def told(monkeypatch):
    """What is said, and an event that is set when so many lines are."""
    lines, enough = [], threading.Event()

    def say(line, _file):
        lines.append(line)
        if len(lines) >= 3:
            enough.set()

    monkeypatch.setattr(phases, "tell", say)
    return lines, enough


@pytest.mark.usefixtures("soon")
def test_what_takes_long_is_told_again_and_again_and_how_long_it_took(told):
    lines, enough = told
    with Phase("reading", lambda: "3 of 7"):
        assert enough.wait(60)
    *going, last = lines
    assert len(going) >= 3
    assert all(line.startswith("reading ... 0.") and line.endswith(" s, 3 of 7") for line in going)
    assert last.startswith("reading took 0.")


def test_what_is_soon_over_is_not_told(told):
    lines, _ = told
    with Phase("reading"):
        pass
    phase = Phase("reading")
    phase.begin()
    phase.end()
    phase.end()
    assert lines == []


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("fails", [True, False])
def test_a_phase_that_fails_or_is_stopped_took_no_time(told, fails):
    lines, enough = told
    phase = Phase("reading")
    if fails:
        with suppress(OSError), phase:
            assert enough.wait(60)
            raise OSError
    else:
        phase.begin()
        assert enough.wait(60)
        phase.stop()
    phase.end()
    assert not any("took" in line for line in lines)


@pytest.mark.usefixtures("soon")
def test_only_rank_0_tells(told, monkeypatch):
    lines, enough = told
    monkeypatch.setenv("RANK", "1")
    with Phase("reading"):
        assert not enough.wait(0.1)
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (3.14, "3.1 s"),
        (59.6, "60 s"),
        (240, "4.0 min"),
        (7200, "2.0 h"),
        (864000, "10.0 days"),
    ],
)
def test_a_duration_is_told_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_a_line_for_a_reader_that_has_gone_stops_nothing(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as gone:
        tell("into the void", gone)
    with (tmp_path / "log").open("w") as log:
        tell("a line", log)
        assert (tmp_path / "log").read_text() == "a line\n"
