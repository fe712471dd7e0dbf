"""Leaves at a step boundary when a signal asked for it: the ranks agree, save, and stop."""

import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import Callback, Trainer

from ssl_swin import signals
from ssl_swin.training.agreement import Agreement
from ssl_swin.training.learner import Learner

# Where steps are long, ranks start to agree after each, and know the answer one step later: a run
# leaves within 2 steps of a signal. Short steps share an exchange among AGREE_EVERY: it leaves
# within AGREE_EVERY + 1. One process needs none, and leaves after the step the signal came in.
LONG_STEP_S = 0.1
AGREE_EVERY = 4


class StartAgain(RuntimeError):
    """This life cannot begin; another start of the same command can."""


class Meeting(Callback):
    """Where all ranks learn the same: whether to stop and save now; stands before `Checkpoints`.

    Args:
        stop_step: The step the run ends at.
        save_every_s: Seconds between checkpoints, on the clock of rank 0; 0 for none.
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
        signals.watch()  # once more, should a library have set its own
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
        """Take the answer of the step before, and ask again."""
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
        """Start the time between checkpoints anew."""
        self._saved_at = time.monotonic()

    def _own_wish(self, trainer: Trainer) -> list[int]:
        """Return this rank's signal, on rank 0 whether to save, and whether steps are long."""
        due = (
            trainer.is_global_zero
            and self.save_every_s > 0
            and not self.save_due  # it is about to be written
            and time.monotonic() - self._saved_at >= self.save_every_s
        )
        return [signals.received(), int(due), int(self._step_s >= LONG_STEP_S)]
