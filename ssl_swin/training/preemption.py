"""Stops a run between two steps when a signal asks for it: the ranks agree, save, and leave."""

import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import Callback, Trainer

from ssl_swin import signals
from ssl_swin.training.agreement import Agreement
from ssl_swin.training.learner import Learner

# Where steps are long, ranks exchange their wishes after each step and know the answer one step
# later, so a run leaves within 2 steps of a signal. Where steps are short, AGREE_EVERY steps share
# an exchange, so it leaves within AGREE_EVERY + 1. One process needs no exchange.
LONG_STEP_S = 0.1
AGREE_EVERY = 4


class StartAgain(RuntimeError):
    """This life cannot begin; another start of the same command can."""


class Meeting(Callback):
    """Tells all ranks the same: whether to stop now, and whether to save; before `Checkpoints`.

    Args:
        stop_step: The step the run ends at.
        save_every_s: Seconds between checkpoints by the clock of rank 0; 0 for none.
        timeout: How long one rank waits for the others.

    Attributes:
        signal: The signal that stops the run after this step, 0 for none.
        save_due: 1 if a checkpoint is due by the clock after this step, else 0.
    """

    def __init__(self, stop_step: int, save_every_s: float, timeout: timedelta) -> None:
        self.stop_step, self.save_every_s, self.timeout = stop_step, save_every_s, timeout
        self.signal, self.save_due = 0, 0
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

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the answer to the last exchange, and begin the next."""
        now = time.monotonic()
        self._step_s, self._met_at = now - self._met_at, now
        alone, step = trainer.world_size == 1, pl_module.step
        self.signal, self.save_due = 0, 0
        if alone:
            self.signal, self.save_due, _ = self._own_wish(trainer)
        elif self._pending:
            self.signal, self.save_due, long = self._agreement.wait()
            self._every, self._pending = 1 if long else AGREE_EVERY, False
        if self.signal:
            trainer.should_stop = True
        elif not alone and step % self._every == 0 and step != self.stop_step:
            self._agreement.start(self._own_wish(trainer))
            self._pending = True

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
