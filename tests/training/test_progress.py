import re

from ssl_swin.training import progress
from ssl_swin.training.progress import ProgressBar
from tests.training.tiny import fit, learner


def shown(capsys, num_steps, **metrics):
    module = learner()
    module.step, module.metrics = 4, metrics
    fit(module, num_steps, ProgressBar(4, 4 + num_steps))
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_the_last_step_is_a_line(capsys):
    (line,) = shown(capsys, 4, train_loss=0.25)
    pattern = r"step 8/8  epoch 2\.0  loss 0\.2500  \d+ images/s  0\.0 min left"
    assert re.fullmatch(pattern, line)


def test_bad_steps_are_shown(capsys):
    (line,) = shown(capsys, 4, train_loss=0.25, bad_steps=3)
    assert "loss 0.2500  3 bad steps  " in line


def test_a_line_comes_as_often_as_the_clock_says(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    lines = shown(capsys, 3)
    assert [line.split()[1] for line in lines] == ["5/7", "6/7", "7/7"]
    assert not any("loss" in line for line in lines)  # none was logged yet
