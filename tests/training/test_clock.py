import pytest

from ssl_swin.training import clock
from ssl_swin.training.clock import DataWait


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
