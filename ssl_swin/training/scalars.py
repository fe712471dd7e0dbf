"""The curves: loss, learning rates and speed."""

import math
from typing import Any

from pytorch_lightning import Callback, Trainer

from ssl_swin.errors import UserError
from ssl_swin.training.clock import Clock
from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log


class Scalars(Callback):
    """Logs points; the step of a point is the number of steps done over all lives."""

    def __init__(self, every_steps: int, clock: Clock) -> None:
        self.every_steps, self.clock = every_steps, clock

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log if it is time.

        Raises:
            UserError: If the loss is not finite; every rank sees the same sum.
        """
        step = pl_module.step
        if step % self.every_steps:
            return
        assert pl_module.result is not None
        loss = float(trainer.strategy.reduce(pl_module.result.loss.clone(), reduce_op="sum"))
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} after step {step}; the last checkpoint is kept; lower "
                "optim.base_lr or optim.clip_grad, or lengthen optim.warmup_epochs"
            )
        pl_module.metrics["train_loss"] = loss
        batch_size, elapsed = pl_module.schedule.global_batch_size, self.clock.step_s
        points = {
            "train/loss": loss,
            "train/grad_norm": float(pl_module.result.grad_norm),
            "train/samples_seen": step * batch_size,
            "train/epoch": step / pl_module.schedule.steps_per_epoch,
            "speed/images_per_s": self.clock.num_steps * batch_size / elapsed,
            "speed/data_wait_share": self.clock.wait_s / elapsed,
            "data/bad_samples": pl_module.metrics.get("bad_samples", 0),
        }
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        for group in optimizer.param_groups:
            points[f"lr/{group['name']}"] = group["lr"]
        log(trainer, points)
        self.clock.reset()
