import pytest

from ssl_swin.training import clock
from ssl_swin.training.clock import DataWait, StepTimer
from ssl_swin.training.learner import Learner
from tests.training.tiny import fit, learner


@pytest.mark.parametrize(("wait_s", "step_s", "says"), [(0.03, 0.002, 1), (0.001, 0.02, 0)])
def test_a_run_that_waits_for_data_says_so_once(capsys, monkeypatch, wait_s, step_s, says):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    callback = DataWait(num_workers=3, num_steps=4)
    callback.on_train_start(None, None)
    for _ in range(16):
        now[0] += wait_s
        callback.on_train_batch_start(None, None, None, 0)
        now[0] += step_s
        callback.on_train_batch_end(None, None, None, None, 0)
    out = capsys.readouterr().out
    assert out.count("data-bound: ") == says
    assert out.count("data.num_workers (now 3") == says


@pytest.mark.parametrize(("seconds", "num_steps"), [(0.0, 2), (1e6, 20)])
@pytest.mark.parametrize("warm_up", [1, 3])
def test_steps_are_timed_between_two_looks_at_the_device(monkeypatch, seconds, num_steps, warm_up):
    events, take, timer = [], Learner.training_step, StepTimer(seconds)

    def training_step(self, batch, batch_idx):
        events.append("step")
        take(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", training_step)
    monkeypatch.setattr(clock, "synchronize", lambda _: events.append("wait"))
    monkeypatch.setattr(clock, "WARM_UP", {"cpu": warm_up})
    module = learner()
    fit(module, 1, timer)
    one, several = ["wait", "step", "wait"], ["wait", *["step"] * num_steps, "wait"]
    assert events == ["step"] * warm_up + one + several
    assert timer.num_steps == num_steps
    assert module.step == warm_up + 1 + num_steps
    assert 0 < timer.step_s < 60
