"""On a GPU, ten steps of both trainings and what follows each wait for it nowhere."""

from contextlib import contextmanager

import pytest
import torch

from ssl_swin.training import loss_scale
from ssl_swin.training.loss_scale import LARGEST
from tests.training.conftest import shards  # noqa: F401
from tests.training.test_interruption import checkpoint
from tests.training.waits import CONFIGS, Watched, config_of, live

pytestmark = pytest.mark.gpu
ON_GPU = torch.cuda.is_available()


@contextmanager
def waits_are_errors(_module=None):
    """On the CPU they are not: there this tries the test alone, and tests/training counts."""
    before = torch.cuda.get_sync_debug_mode() if ON_GPU else 0
    try:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_ten_steps_wait_nowhere(kind, precision, tmp_path, shards, monkeypatch):  # noqa: F811
    monkeypatch.setattr(loss_scale, "INITIAL", LARGEST)  # so that fp16 overflows
    accelerator = "gpu" if ON_GPU else "cpu"
    config = config_of(kind, tmp_path / "run", shards, precision=precision, accelerator=accelerator)
    live(config, Watched(waits_are_errors), monkeypatch)
    saved = checkpoint(tmp_path / "run")
    assert saved["metrics"]["bad_steps"] == 0
    if precision == "fp16":
        overflows = saved["metrics"]["overflow_steps"]
        assert overflows > 0
        assert saved["loss_scale"]["scale"] == LARGEST / 2**overflows


@pytest.mark.skipif(not ON_GPU, reason="needs 1 GPU: the CPU tells of no wait")
def test_a_wait_is_an_error():
    there = torch.ones(1, device="cuda")
    with pytest.raises(RuntimeError, match=r"(?i)synchroniz"), waits_are_errors():
        there.item()
