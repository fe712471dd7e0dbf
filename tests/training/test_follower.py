import threading

import pytest

from ssl_swin import signals
from ssl_swin.record.curves import keep_points
from ssl_swin.record.owner import LostOwnership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import follower
from ssl_swin.training.follower import Follower
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.trackers import TRACKERS


class Toy:
    """A tracker in this process, whose network fails, hangs or works."""

    runs: dict[str, list] = {}  # noqa: RUF012
    fails = False
    answers = threading.Event()

    def prepare(self, folder):
        pass

    def drop(self):
        pass

    def open(self, _folder, sent, kind, config):
        self.points = Toy.runs.setdefault(sent.id, [])
        self.points.append((kind, config["seed"]))
        return "here"

    def log(self, points, step):
        if Toy.fails:
            raise ConnectionError("nobody\nanswers")
        assert Toy.answers.wait(60)
        self.points.append((step, points))

    def end(self, status, found, step):
        self.points.append((status, found, step))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(TRACKERS, "toy", Toy)
    monkeypatch.setattr(follower, "RETRY_S", 0.01)
    monkeypatch.setattr(Toy, "runs", {})
    monkeypatch.setattr(Toy, "fails", False)
    monkeypatch.setattr(Toy, "answers", threading.Event())
    Toy.answers.set()
    folder = RunFolder(tmp_path)
    folder.config.write_text("seed: 3\n")
    yield folder
    Toy.answers.set()
    signals.forget()


def begin(folder, start_step=0, require_owner=lambda: None):
    """What a life does with the points of earlier ones, and its loggers."""
    keep_points(folder.metrics, start_step)
    return make_loggers(folder, start_step, require_owner, ("toy",), "pretrain")


def log(loggers, *steps, value=0.5):
    for step in steps:
        for logger in loggers:
            logger.log_metrics({"loss": value}, step)


def end(loggers, status="stopped", found=(), step=0):
    loggers[-1].end(status, dict(found), step)


def test_all_lives_are_one_run_and_each_point_stands_once(folder):
    first = begin(folder)
    log(first, 1, 2, 3, 4)
    end(first, step=4)
    second = begin(folder, 2)  # saved after step 2
    log(second, 3, 4, 5, value=0.25)
    end(second, "finished", {"final/top1": 9.0}, 5)
    (points,) = Toy.runs.values()
    loss = [(step, {"loss": 0.5}) for step in (1, 2, 3, 4)]
    assert points[:6] == [("pretrain", 3), *loss, ("stopped", {}, 4)]
    last = (5, {"loss": 0.25}), ("finished", {"final/top1": 9.0}, 5)
    assert points[6:] == [("pretrain", 3), *last]
    assert second[-1].is_whole


def test_a_network_that_fails_is_told_once_and_later_gets_all(folder, capsys):
    Toy.fails = True
    loggers = begin(folder)
    log(loggers, 1, 2, 3)
    while not loggers[-1]._why:
        loggers[-1]._thread.join(0.01)
    Toy.fails = False
    end(loggers, step=3)
    (points,) = Toy.runs.values()
    assert [point[0] for point in points] == ["pretrain"] * 2 + [1, 2, 3, "stopped"]  # opened again
    told = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(told) == 1
    assert "toy cannot be sent to (nobody answers); training goes on" in told[0]


def test_what_a_life_could_not_send_the_next_one_does(folder, capsys):
    Toy.fails = True
    loggers = begin(folder)
    log(loggers, 1, 2)
    end(loggers, step=2)
    assert "toy lacks the last points of this run (nobody answers)" in capsys.readouterr().out
    Toy.fails = False
    loggers = begin(folder, 2)
    log(loggers, 3)
    end(loggers, step=3)
    (points,) = Toy.runs.values()
    assert [point[0] for point in points if isinstance(point[0], int)] == [1, 2, 3]


def test_one_that_does_not_answer_is_not_waited_for_after_a_signal(folder, capsys, monkeypatch):
    monkeypatch.setattr(follower, "HURRY_S", 0.05)
    Toy.answers.clear()
    loggers = begin(folder)
    log(loggers, 1)
    signals._received.append(15)
    end(loggers, "finished", step=1)  # else it would wait for half a minute
    assert loggers[-1]._thread.is_alive()
    assert "lacks the last points of this run (it does not answer)" in capsys.readouterr().out


def test_a_life_that_lost_the_folder_sends_nothing_more(folder):
    lost = []

    def require_owner():
        if lost:
            raise LostOwnership("gone")

    file, toy = begin(folder, 0, require_owner)
    log([file, toy], 1)
    while not Toy.runs or len(next(iter(Toy.runs.values()))) < 2:
        toy._thread.join(0.01)
    lost.append(True)
    with folder.metrics.open("a") as lines:
        lines.write('{"step": 2, "loss": 0.5}\n')  # of the other life
    toy.log_metrics({}, 2)
    toy._thread.join(60)
    assert not toy._thread.is_alive()
    (points,) = Toy.runs.values()
    assert [point[0] for point in points] == ["pretrain", 1]


def test_a_life_without_a_point_opens_no_run(folder):
    loggers = begin(folder)
    end(loggers)
    assert not Toy.runs
    assert isinstance(loggers[-1], Follower)
    assert not folder.tracking("toy").exists()
