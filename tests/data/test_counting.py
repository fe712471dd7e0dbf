import io

from rich.console import Console

from ssl_swin.data import counting as module
from ssl_swin.data.counting import counting
from ssl_swin.data.shards import one_maker


def test_without_a_terminal_a_line_is_written_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(one_maker, "_TELL_EVERY_S", 0.0)
    with counting("packing", 2000, done=500) as count:
        count(700)
        count(300)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("packing: 1,200 of 2,000 images, ")
    assert second.startswith("packing: 1,500 of 2,000 images, ")
    assert "images/s, " in second
    assert second.endswith(" s left")
    with counting("scanning", None) as count:
        count(3)
    said = capsys.readouterr().err
    assert said.startswith("scanning: 3 images, ")
    assert said.endswith(" images/s\n")


def test_what_comes_after_the_last_image_does_not_count():
    with counting("packing", 10, done=4) as count:
        count(5)
    rate = count.rate
    assert rate > 0
    assert count.rate == rate


def test_short_work_says_nothing(capsys):
    with counting("packing", 1) as count:
        count(1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(module, "Console", lambda **_: terminal)
    with counting("classifying", 5) as count:
        for num in (2, 3):
            count(num)
    assert "classifying" in screen.getvalue()
    assert "5/5" in screen.getvalue()
    assert "images/s" in screen.getvalue()
