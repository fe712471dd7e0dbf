"""How long steps take, and how much of it is waiting for data."""

import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ssl_swin.training.learner import Learner
from ssl_swin.training.memory import synchronize
from ssl_swin.training.trainer import say

WARM_UP = {"cuda": 3}  # steps before the clock starts, by device; elsewhere one
_FEWEST, _MOST = 2, 20  # steps that are timed


class Clock(Callback):
    """Times steps and the wait for data; the last callback, so that it times only the loader."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from 0 again."""
        self.wait_s = 0.0  # seconds since the last reset spent waiting for the loader
        self.num_steps = 0  # since the last reset
        self._began = self._mark = time.perf_counter()

    @property
    def step_s(self) -> float:
        """Seconds since the last reset."""
        return time.perf_counter() - self._began

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """The first wait begins."""
        self.reset()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """A wait ends."""
        self.wait_s += time.perf_counter() - self._mark
        self.num_steps += 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """A wait begins."""
        self._mark = time.perf_counter()


class StepTimer(Callback):
    """Times steps that wait for no data: those that follow the first of a life, with its batch.

    The device is synchronised before and after. Steps that warm up (kernels are chosen or compiled,
    memory is taken) are not counted. All ranks take as many steps, and the slowest counts.

    Args:
        seconds: About how long to time, but for 2 to 20 steps.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.num_steps, self.step_s = seconds, 0, math.nan

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take this step again, and again."""
        take = partial(trainer.strategy.training_step, batch, batch_idx)
        warm_up = WARM_UP.get(pl_module.device.type, 1)
        for _ in range(warm_up - 1):
            take()
        one_s = timed_step(trainer, take, 1)
        self.num_steps = max(_FEWEST, min(_MOST, int(self.seconds / one_s)))
        self.step_s = timed_step(trainer, take, self.num_steps)


def timed_step(trainer: Trainer, take: Callable[[], Any], num_steps: int) -> float:
    """Return the seconds of a step, the same on every rank."""
    device = trainer.strategy.root_device
    synchronize(device)
    began = time.perf_counter()
    for _ in range(num_steps):
        take()
    synchronize(device)
    seconds = torch.tensor((time.perf_counter() - began) / num_steps, device=device)
    return float(trainer.strategy.reduce(seconds, reduce_op="max"))


class DataWait(Clock):
    """Says once in a life that training waits for data, and what to change.

    Args:
        num_workers: Loader processes of each training process.
        num_steps: Steps that are timed together; the first ones of a life are left out.
        share: Share of their time that may be waiting.
    """

    def __init__(self, num_workers: int, num_steps: int = 100, share: float = 0.25) -> None:
        super().__init__()
        self.num_workers, self.window, self.share = num_workers, num_steps, share
        self._warm = self._said = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Look at the last steps if there are enough of them."""
        super().on_train_batch_end(trainer, pl_module)
        if self._said or self.num_steps < self.window:
            return
        waited = self.wait_s / self.step_s
        if self._warm and waited > self.share:
            self._said = True
            say(
                f"data-bound: {100 * waited:.0f} % of the last {self.window} steps was waiting for "
                f"images; give more data.num_workers (now {self.num_workers}, on "
                f"{len(os.sched_getaffinity(0))} cores), smaller images (ssl-swin shards create "
                "--short-side) or nearer storage; ssl-swin doctor tells which"
            )
        self._warm = True
        self.reset()
