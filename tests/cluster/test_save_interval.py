import math

import numpy as np
import pytest

from ssl_swin.cluster.options import Options
from ssl_swin.cluster.save_interval import best_interval_s, describe_saves, interval_s, kept
from ssl_swin.config.data import DataConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder

HOUR = 3600.0


def saves_after(steps, step_s, training):
    """Return after which of so many steps a run saves, by its own rules for clock and steps."""
    saved, last = np.zeros(steps + 1, bool), 0
    for step in range(1, steps + 1):
        by_clock = training.checkpoint_every_min * 60
        due = by_clock and (step - last) * step_s >= by_clock
        every = training.checkpoint_every_steps
        if due or (every and step % every == 0):
            saved[step], last = True, step
    return saved


def simulate(interval_s, save_s, mtbf_s, restart_s, num_failures=20_000):
    """Live through drawn failures; return useful seconds over all seconds."""
    draws = np.random.default_rng(0).exponential(mtbf_s, num_failures)
    useful, after_restart = 0.0, False
    for time_s in draws:  # from one failure to the next
        if after_restart:
            time_s -= restart_s  # it is hit itself if less is left
        useful += interval_s * max(0, math.floor(time_s / (interval_s + save_s)))
        after_restart = True
    return useful / draws.sum()


@pytest.mark.parametrize("save_s", [0.3, 4.0, 60.0])
@pytest.mark.parametrize("restart_s", [0.0, 300.0])
@pytest.mark.parametrize("minutes", [1.0, 5.0, 15.0, 60.0])
@pytest.mark.parametrize("mtbf_h", [0.5, 3.0])
def test_the_goodput_is_that_of_drawn_failures(minutes, save_s, restart_s, mtbf_h):
    ours = kept(60 * minutes, save_s, mtbf_h * HOUR, restart_s).goodput
    assert ours == pytest.approx(simulate(60 * minutes, save_s, mtbf_h * HOUR, restart_s), abs=0.01)


@pytest.mark.parametrize("save_s", [0.3, 4.0, 60.0])
def test_no_other_interval_does_better_than_youngs(save_s):
    best = best_interval_s(save_s, 3 * HOUR)
    assert best == pytest.approx(math.sqrt(2 * save_s * 3 * HOUR))
    tried = best * 2 ** np.linspace(-3, 3, 61)
    goodputs = [simulate(one, save_s, 3 * HOUR, 120.0) for one in tried]
    assert tried[np.argmax(goodputs)] == pytest.approx(best, rel=0.3)  # the optimum is flat
    assert simulate(best, save_s, 3 * HOUR, 120.0) > max(goodputs) - 0.001
    exact = [kept(one, save_s, 3 * HOUR).goodput for one in tried]
    assert kept(best, save_s, 3 * HOUR).goodput > max(exact) - 0.001


def test_goodput_is_the_product_of_what_each_leaves():
    found = kept(300.0, 4.0, 3 * HOUR, 120.0)
    assert found.after_saves == 300 / 304
    assert found.after_restarts == math.exp(-120 / (3 * HOUR))
    assert found.goodput == math.prod(found)
    assert kept(1e9, 1.0, 60.0).goodput == pytest.approx(0.0, abs=1e-9)  # and no overflow


@pytest.mark.parametrize("minutes", [0.0, 0.4, 1.0, 2.5, 15.0])
@pytest.mark.parametrize("every", [0, 30, 100, 1000])
def test_minutes_and_steps_both_apply(minutes, every):
    training = TrainingConfig(checkpoint_every_min=minutes, checkpoint_every_steps=every)
    found = interval_s(training, step_s=0.5)
    saved = saves_after(20_000, 0.5, training)
    if not minutes and not every:
        assert math.isinf(found)
        assert not saved.any()
    else:
        assert found == pytest.approx(10_000 / saved.sum(), rel=0.02)


def said(folder, size=10**9, batch=100, options=None, **training):
    config = PretrainConfig(str(folder), DataConfig("x"), training=TrainingConfig(**training))
    return describe_saves(config, size, Options(**(options or {})), batch)


def test_submit_says_how_often_to_save_and_what_the_settings_lose(tmp_path):
    assert said(tmp_path, options={"images_per_s": 100.0}) == (
        "saves: each stops training for about 4 s (1.0 GB at 250.0 MB/s, assumed; or --save-s); "
        "with a failure every 3 h (--mtbf-h) the best interval is 4.9 min: saves and steps done "
        "again take 2.7% of the time; training.checkpoint_every_min=15 with "
        "checkpoint_every_steps=1000 is 8.3 min and loses 0.4% more"
    )
    rare = said(tmp_path, checkpoint_every_steps=0)
    assert rare.endswith(" is 15 min and loses 1.9% more: set --training.checkpoint-every-min 4.9")
    often = said(tmp_path, options={"images_per_s": 2000.0})
    assert often.endswith(
        " is 0.83 min and loses 4.9% more: set --training.checkpoint-every-min 4.9 "
        "--training.checkpoint-every-steps 0"
    )


def test_what_it_cannot_know_it_says(tmp_path):
    assert said(tmp_path).endswith(": --images-per-s tells how often that is")
    never = said(tmp_path, checkpoint_every_min=0.0, checkpoint_every_steps=0)
    assert never.endswith(
        "checkpoint_every_min=0 with checkpoint_every_steps=0 saves only at warnings: "
        "set --training.checkpoint-every-min 4.9"
    )


def test_mean_time_and_save_time_can_be_stated(tmp_path):
    stated = said(tmp_path, options={"mtbf_h": 12.0, "save_s": 1.0})
    assert "about 1 s (stated; or --save-s); with a failure every 12 h" in stated
    assert "the best interval is 4.9 min" in stated


def test_saves_of_the_run_so_far_are_known(tmp_path):
    folder = RunFolder(tmp_path)
    for step, write_s in enumerate((9.0, 8.0, 7.0)):
        append_line(folder.checkpoints, {"step": step, "write_s": write_s})
    append_line(folder.metrics, {"step": 3, "speed/images_per_s": 100.0})
    append_line(folder.checkpoints, {"step": 4, "reasons": ["written by an earlier version"]})
    assert "about 8 s (median of the last 3;" in said(tmp_path)
    assert " is 8.3 min and loses " in said(tmp_path)  # by the speed of the run so far
    assert "about 1 s (1.0 GB at 1.0 GB/s, assumed;" in said(tmp_path, async_checkpoint=True)
    append_line(folder.checkpoints, {"step": 5, "write_s": 200.0, "pause_s": 0.5})
    background = said(tmp_path, async_checkpoint=True)
    assert "about 0.5 s (median of the last 1;" in background
    assert "the best interval is 1.7 min" in background


def test_saves_in_the_background_come_one_after_another(tmp_path):
    append_line(RunFolder(tmp_path).checkpoints, {"step": 5, "write_s": 600.0, "pause_s": 0.1})
    assert "the best interval is 10 min" in said(tmp_path, async_checkpoint=True)


def test_a_save_by_steps_begins_the_minutes_anew():
    training = TrainingConfig(checkpoint_every_min=1.0, checkpoint_every_steps=100)
    saved = saves_after(400, 1.0, training)
    assert np.flatnonzero(saved).tolist() == [60, 100, 160, 200, 260, 300, 360, 400]
