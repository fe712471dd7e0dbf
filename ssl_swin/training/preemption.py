"""Stops a run between two steps when a signal asks for it: the ranks agree, save, and leave."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer

from ssl_swin import signals
from ssl_swin.training.learner import Learner

# Where steps are long, ranks exchange their wishes after each step and know the answer one step
# later, so a run leaves within 2 steps of a signal. Where steps are short, AGREE_EVERY steps share
# an exchange, so it leaves within AGREE_EVERY + 1. One process needs no exchange.
LONG_STEP_S = 0.1
AGREE_EVERY = 4


class StartAgain(RuntimeError):
    """This life cannot begin; another start of the same command can."""


class Agreement:
    """Finds the largest of all ranks' integers while the ranks go on with the next step.

    It has a gloo group of its own, so that the exchange runs on the CPU and waits for no device.
    All ranks make this object at the same time; one waits for the others until the `timeout`.
    """

    def __init__(self, world_size: int, timeout: timedelta) -> None:
        self._group: Any = None
        if world_size > 1:
            self._group = dist.new_group(backend="gloo", timeout=timeout)
        self._values = torch.zeros(0, dtype=torch.int64)
        self._work: dist.Work | None = None

    def start(self, values: Sequence[int]) -> None:
        """Hand in this rank's integers, as many on every rank."""
        self._values = torch.tensor(values, dtype=torch.int64)
        if self._group is not None:
            highest = dist.ReduceOp.MAX
            self._work = dist.all_reduce(self._values, highest, self._group, async_op=True)

    def wait(self) -> list[int]:
        """Return the largest of what all ranks have handed in."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._values.tolist()


class Meeting(Callback):
    """Tells all ranks the same: whether to stop now, and whether to save; before `Checkpoints`.

    Args:
        stop_step: The step the run ends at.
        save_every_s: Seconds between checkpoints by the clock of rank 0; 0 for none.
        timeout: How long one rank waits for the others.
    """

    def __init__(self, stop_step: int, save_every_s: float, timeout: timedelta) -> None:
        self.stop_step, self.save_every_s, self.timeout = stop_step, save_every_s, timeout
        self.signal = 0  # stops the run after this step; 0 for none
        self.save_due = 0  # 1 if a checkpoint is due by the clock after this step
        self._saved_at = self._met_at = time.monotonic()
        self._step_s = LONG_STEP_S  # of this rank
        self._pending, self._every = False, 1

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Check that all ranks begin at the same step.

        Raises:
            StartAgain: If a checkpoint was replaced while the ranks read it.
        """
        signals.watch()  # again, in case a library has set its own handlers
        self._agreement = Agreement(trainer.world_size, self.timeout)
        self._agreement.start([pl_module.step, -pl_module.step])
        last, first = self._agreement.wait()
        if last != -first:
            raise StartAgain(
                f"the checkpoint was replaced while it was read; ranks have steps {-first} "
                f"to {last}; the same command starts again from the newer one"
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Take the answer to the last exchange, and begin the next."""
        now = time.monotonic()
        self._step_s, self._met_at = now - self._met_at, now
        alone, step = trainer.world_size == 1, pl_module.step
        self.signal, self.save_due = 0, 0
        if alone:
            self.signal, self.save_due = self._own_wish(trainer)[:2]
        elif self._pending:
            self.signal, self.save_due, long = self._agreement.wait()
            self._every, self._pending = 1 if long else AGREE_EVERY, False
        if self.signal:
            trainer.should_stop = True
        elif not alone and step % self._every == 0 and step != self.stop_step:
            self._agreement.start(self._own_wish(trainer))
            self._pending = True

    def counts_after(self, step: int, every_steps: tuple[int, ...]) -> bool:
        """Return whether what steps have left on the devices is counted after this one.

        That is at each multiple of one of these numbers, 0 for none, before a checkpoint by the
        clock, and where the run ends or stops.
        """
        due = any(every and step % every == 0 for every in every_steps)
        return due or bool(self.signal or self.save_due) or step == self.stop_step

    def saved(self) -> None:
        """Begin the time to the next checkpoint: one was written."""
        self._saved_at = time.monotonic()

    def _own_wish(self, trainer: Trainer) -> list[int]:
        """Return this rank's signal, on rank 0 whether to save, and whether steps are long."""
        due = (
            trainer.is_global_zero
            and self.save_every_s > 0
            and not self.save_due  # that one is about to be written
            and time.monotonic() - self._saved_at >= self.save_every_s
        )
        return [signals.received(), int(due), int(self._step_s >= LONG_STEP_S)]
