"""Between two points nothing waits for the device, in a step or after it: both trainings."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ssl_swin.training.learner import Learner
from tests.training.waits import CONFIGS, NUM_STEPS, Waits, Watched, config_of, live, on_the_device

ASKING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0]),
    "if": lambda x: bool((x > 0).all()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: (x * 2).cpu(),
    "to": lambda x: x.to("cpu"),
    "numpy": lambda x: x.numpy(),
    "array": lambda x: np.asarray(x),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "set by a mask": lambda x: x.clone().__setitem__(x > 0, x[:1].repeat(3)),
    "repeat": lambda x: torch.repeat_interleave(x.long()),
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "in the backward": lambda x: backward_with(x, lambda gradient: gradient.sum().item()),
}
SILENT = {
    "arithmetic": lambda x: (x * 2 + 1).sum().clamp(0, 3),
    "where": lambda x: torch.where(x > 0, x, -x),
    "gather": lambda x: x[torch.tensor([1, 2])].index_copy_(0, torch.tensor([0]), x[:1]),
    "repeat": lambda x: torch.repeat_interleave(x.long(), output_size=6),
    "one hot": lambda x: functional.one_hot(x.long(), 4),
    "its shape": lambda x: len(x) + x.shape[0],
    "its type": lambda x: x.to(torch.float64),
    "backward": lambda x: backward_with(x, lambda gradient: gradient * 2),
}


def backward_with(x, hook):
    weight = torch.ones(3, requires_grad=True)
    scaled = weight * x
    scaled.register_hook(lambda gradient: [hook(gradient), None][1])
    scaled.sum().backward()


@pytest.mark.parametrize("name", ASKING)
def test_what_asks_the_device_is_counted_with_its_place(name):
    waits, x = Waits(), torch.arange(1.0, 4.0)
    waits.put(x)
    with waits.counting():
        ASKING[name](x)
    assert waits.found.total() > 0
    assert any("test_waits.py" in place for place in waits.found)


@pytest.mark.parametrize("name", SILENT)
def test_what_asks_nothing_is_not(name):
    waits, x = Waits(), torch.arange(1.0, 4.0)
    waits.put(x)
    with waits.counting():
        SILENT[name](x)
    assert not waits.found


@pytest.mark.parametrize("name", ASKING)
def test_what_is_here_may_be_asked(name):
    waits = Waits()
    with waits.counting():
        ASKING[name](torch.arange(1.0, 4.0))
    assert not waits.found


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_ten_steps_and_what_follows_them_ask_for_nothing(
    kind, precision, tmp_path, shards, monkeypatch
):
    waits, config = Waits(), config_of(kind, tmp_path / "run", shards, precision=precision)
    live(config, Watched(on_the_device(waits, monkeypatch)), monkeypatch)
    assert not waits.found


def test_a_step_that_asks_is_found(tmp_path, shards, monkeypatch):
    take = Learner.training_step

    def training_step(self, batch, batch_idx):
        take(self, batch, batch_idx)
        float(self.result.loss)

    monkeypatch.setattr(Learner, "training_step", training_step)
    waits, config = Waits(), config_of("pretrain", tmp_path / "run", shards)
    live(config, Watched(on_the_device(waits, monkeypatch)), monkeypatch)
    (place,) = waits.found
    assert "test_waits.py" in place
    assert waits.found.total() == NUM_STEPS
