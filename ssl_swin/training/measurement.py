"""Measures held-out images between two steps, each rank its share of them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from ssl_swin import signals
from ssl_swin.evaluation.heldout import HeldoutSums, measure
from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log
from ssl_swin.training.trainer import say
from ssl_swin.training.waiting import patiently
from ssl_swin.training.watchdog import beat

DUE = "heldout_due"  # in metrics: what was to be measured at this step was not


class Measurement(Callback):
    """Measures held-out images, keeps the means in the module's `metrics` and logs them.

    After a warning there may be no time to measure to the end, so then all is saved first, and the
    next life measures what this one may not come to. Where the run ends it is not: there would be
    no next life that takes a step.

    Args:
        every_steps: Steps between measurements.
        stop_step: The step the run ends at.
        save: Saves this rank's part of that, without waiting for other ranks, once a step.
    """

    def __init__(
        self, every_steps: int, stop_step: int, save: Callable[[Trainer, Learner], None]
    ) -> None:
        self.every_steps, self.stop_step, self.save = every_steps, stop_step, save
        self._num_told = 0

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Measure what the life before did not come to."""
        if pl_module.metrics.pop(DUE, None):
            self._measure(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Measure if it is time, or if the run ends here."""
        if pl_module.step % self.every_steps == 0 or pl_module.step == self.stop_step:
            self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: Learner) -> None:
        loader = trainer.datamodule.heldout_dataloader()
        if loader is None:
            return

        def look() -> None:
            if signals.received() and pl_module.step != self.stop_step:
                pl_module.metrics[DUE] = 1
                self.save(trainer, pl_module)
                del pl_module.metrics[DUE]

        with trainer.precision_plugin.val_step_context():
            mine = _of_this_rank(trainer, pl_module, loader, look)
            found = _over_all_ranks(trainer, mine)
        means = {name: mean for name, mean in found.means().items() if math.isfinite(mean)}
        if "top1" in means:
            means["best_top1"] = max(means["top1"], pl_module.metrics.get("best_top1", 0.0))
        pl_module.metrics.update(means)
        points: dict[str, float] = {f"heldout/{name}": value for name, value in means.items()}
        if found.num_left_out:
            points["heldout/bad_samples"] = found.num_left_out
        if found.num_left_out > self._num_told:
            say(
                f"warning: {found.num_left_out} held-out images cannot be decoded and are left out "
                "of the measurement; ssl-swin shards verify names them"
            )
            self._num_told = found.num_left_out
        log(trainer, points)


def _of_this_rank(
    trainer: Trainer, module: Learner, loader: DataLoader, look: Callable[[], None]
) -> HeldoutSums:
    """Measure this rank's share; use the network as often as the others, if its weights are shared.

    Rank 0 has the most batches. What is used beyond the share is one image, which does not count.
    """
    most = trainer.strategy.broadcast(len(loader)) if is_sharded(trainer) else 0
    found = measure(module, patiently(loader, look), on_batch=beat)
    if lacking := max(0, most - len(loader)):
        measure(module, [trainer.datamodule.fixed_images(1)] * lacking, on_batch=beat)
    return found


def _over_all_ranks(trainer: Trainer, found: HeldoutSums) -> HeldoutSums:
    """Add up over the ranks; a rank without images knows no names, so rank 0 tells them."""
    names = trainer.strategy.broadcast(list(found.sums))
    device = trainer.lightning_module.device
    counts = torch.tensor([found.num_measured, found.num_left_out], device=device).double()
    mine = [found.sums.get(name, torch.zeros_like(counts[0])) for name in names]
    # (2 + names,): both counts, then the sums
    total = trainer.strategy.reduce(torch.stack([*counts, *mine]), reduce_op="sum")
    sums = dict(zip(names, total[2:], strict=True))
    return HeldoutSums(sums, int(total[0]), int(total[1]))
