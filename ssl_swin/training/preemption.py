"""Leaves at a step boundary when a signal asked for it: the ranks agree, save, and stop."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from ssl_swin import signals
from ssl_swin.training.learner import Learner


class StopOnSignal(Callback):
    """Stops all ranks after the same step; stands before `Checkpoints`, which then saves."""

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Take the signals back from Lightning, whose own handlers act in mid-step."""
        signals.watch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree on the flag."""
        stop = signals.stop_requested()
        if trainer.world_size > 1:
            flag = torch.tensor(int(stop), device=pl_module.device)
            stop = bool(trainer.strategy.reduce(flag, reduce_op="max"))
        if stop:
            trainer.should_stop = True
