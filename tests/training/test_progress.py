import re
from dataclasses import replace

import pytest
from pytorch_lightning import Callback

from ssl_swin.training import progress
from ssl_swin.training.progress import Pace, ProgressBar
from tests.training.tiny import BATCH, fit, learner


class Losses(Callback):
    """Keeps the loss of each step."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, _, pl_module, *__):
        self.found.append(float(pl_module.result.loss))


def shown(capsys, num_steps, **metrics):
    module, losses = learner(), Losses()
    module.step, module.metrics = 4, metrics
    fit(module, num_steps, ProgressBar(4, 4 + num_steps), losses)
    return capsys.readouterr().err.splitlines(), losses.found


def test_without_a_terminal_the_first_and_the_last_step_are_lines_with_their_losses(capsys):
    (first, last), losses = shown(capsys, 4)
    pattern = rf"step 5/8  epoch 1\.2  loss {losses[0]:.4f}  the first step took [\d.]+ s"
    assert re.fullmatch(pattern, first)
    pattern = rf"step 8/8  epoch 2\.0  loss {losses[3]:.4f}  [\d,]+ images/s  0\.0 s left"
    assert re.fullmatch(pattern, last)


def test_bad_steps_are_shown(capsys):
    (_, line), (*_, loss) = shown(capsys, 4, bad_steps=3)
    assert f"loss {loss:.4f}  3 bad steps  " in line


def test_a_line_comes_as_often_as_the_clock_says(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    lines, _ = shown(capsys, 3)
    assert [line.split()[1] for line in lines] == ["5/7", "6/7", "7/7"]


def test_between_lines_no_step_waits_for_its_loss(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(ProgressBar, "_show", lambda _, module, *__: asked.append(module.step))
    shown(capsys, 6)
    assert asked == [5, 10]


def test_a_share_s_loss_is_shown_as_large_as_that_of_a_whole_batch(capsys):
    module = learner()
    module.schedule = replace(module.schedule, global_batch_size=4 * BATCH)  # of four ranks
    losses = Losses()
    fit(module, 1, ProgressBar(0, 1), losses)
    assert f"loss {4 * losses.found[0]:.4f}  " in capsys.readouterr().err


def test_the_pace_leaves_out_the_first_step_and_forgets_a_slow_beginning():
    pace = Pace()
    pace.mark(300.0, 1)  # compiled
    assert pace.steps_per_s is None
    pace.mark(302.0, 2)
    assert pace.steps_per_s == 0.5
    for step in range(3, 4000):
        pace.mark(300.0 + 2 * min(step, 500) + max(0, step - 500), step)
    assert pace.steps_per_s == pytest.approx(1.0, rel=0.02)


def test_a_machine_that_becomes_crowded_is_seen_within_a_minute_and_foretold_soon():
    pace = Pace()
    for step in range(200):
        pace.mark(float(step), step)
    for step in range(1, 7):
        pace.mark(199.0 + 10 * step, 199 + step)
    assert pace.recent == pytest.approx(0.1)
    for step in range(7, 25):
        pace.mark(199.0 + 10 * step, 199 + step)
    assert pace.recent == pytest.approx(0.1)
    assert pace.steps_per_s == pytest.approx(0.1)


def test_a_measurement_now_and_then_moves_the_pace_little():
    pace, seconds, rates = Pace(), 0.0, []
    for step in range(1, 20000):
        seconds += 1.0 + 300.0 * (step % 2000 == 0)
        pace.mark(seconds, step)
        rates.append(pace.steps_per_s)
    assert 0.8 < min(rates[8000:]) < max(rates[8000:]) < 1.0


def test_the_time_left_is_that_of_steps_that_take_longer(capsys, monkeypatch):
    """After three small steps of 100 s, the last foretells four of 400 s."""
    module, now = learner(), iter(100.0 * number for number in range(9))
    monkeypatch.setattr(module, "work", lambda step: step / 4 if step <= 3 else step - 2.25)
    fit(module, 3, ProgressBar(0, 7, clock=lambda: next(now)))
    assert capsys.readouterr().err.splitlines()[-1].endswith("26.7 min left")
