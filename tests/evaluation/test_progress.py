import io

from rich.console import Console

from ssl_swin.evaluation import progress
from ssl_swin.evaluation.classify import Answers


def answers(*sizes):
    return [Answers(list(range(size)), None, None) for size in sizes]


def test_without_a_terminal_lines_say_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    with progress.ImageProgress(10, 4) as shown:
        assert [len(one.index) for one in shown.over(answers(2, 3))] == [2, 3]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("6 of 10 images  ")
    assert second.startswith("9 of 10 images  ")
    assert "images/s" in second
    assert second.endswith(" s left")
    rate = shown.rate
    assert rate > 0
    assert shown.rate == rate  # what comes after the last image does not count


def test_a_short_one_without_a_terminal_says_nothing(capsys):
    with progress.ImageProgress(5) as shown:
        list(shown.over(answers(5)))
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    with progress.ImageProgress(5) as shown:
        list(shown.over(answers(2, 3)))
    assert "classifying" in screen.getvalue()
    assert "5/5" in screen.getvalue()
