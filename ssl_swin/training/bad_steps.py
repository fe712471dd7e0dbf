"""Counts and names steps whose loss or gradient is not finite; too many in a row end the run."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.training.learner import Learner
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.trainer import say


class BadSteps(Callback):
    """Counts bad steps, which changed nothing, and ends the run after too many in a row.

    An overflow under fp16 changes nothing either, but is counted apart and ends no run: it halves
    the loss scale, and at the smallest there are none. So a loss that stays NaN ends a run there.

    The device knows which steps were bad, the same on every rank. It is asked where points are
    logged, where checkpoints are due, where the run ends or stops, and every `most_in_a_row` + 1
    steps.

    Args:
        most_in_a_row: Bad steps that may follow each other.
        every_steps: The device is asked at each multiple of one of these numbers; 0 for none.
    """

    def __init__(self, most_in_a_row: int, every_steps: tuple[int, ...], meeting: Meeting) -> None:
        self.most_in_a_row, self.meeting = most_in_a_row, meeting
        self.every_steps = (*every_steps, most_in_a_row + 1)
        self._pending: list[Tensor] = []  # of each step, whether it was bad

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Keep whether the step was bad; count if it is time.

        Raises:
            UserError: If too many bad steps follow each other; on every rank after the same step.
        """
        assert pl_module.result is not None
        self._pending.append(pl_module.result.bad)
        if self.meeting.counts_after(pl_module.step, self.every_steps):
            self._count(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:
        """Count what is saved when the run is stopped; raises what `on_train_batch_end` does."""
        if self.meeting.signal and self._pending:
            self._count(pl_module)

    def _count(self, module: Learner) -> None:
        found, step, metrics = torch.stack(self._pending).tolist(), module.step, module.metrics
        self._pending.clear()
        in_a_row, bad = int(metrics.get("bad_steps_in_a_row", 0)), []
        for number, is_bad in enumerate(found, step - len(found) + 1):
            in_a_row = in_a_row + 1 if is_bad else 0
            bad += [number] if is_bad else []
            if in_a_row > self.most_in_a_row:
                raise UserError(
                    f"the loss or the gradient was not finite in {in_a_row} steps in a row, up to "
                    f"step {number}, and training.max_bad_steps={self.most_in_a_row}; the last "
                    "checkpoint is kept; lower optim.base_lr or optim.clip_grad, or lengthen "
                    "optim.warmup_epochs"
                )
        metrics["bad_steps"] = metrics.get("bad_steps", 0) + len(bad)
        metrics["bad_steps_in_a_row"] = in_a_row
        if module.loss_scale:
            metrics["overflow_steps"] = int(module.loss_scale.overflow_steps)
        if bad:
            say(
                f"warning: the loss or the gradient was not finite in step "
                f"{', '.join(map(str, bad))}, which changed nothing; {metrics['bad_steps']} of "
                f"{step} so far"
            )
