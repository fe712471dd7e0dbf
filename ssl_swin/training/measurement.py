"""Measures held-out images between two steps, each rank its share of them."""

import math
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from ssl_swin.evaluation.heldout import HeldoutSums, measure
from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log
from ssl_swin.training.trainer import say
from ssl_swin.training.watchdog import beat


class Measurement(Callback):
    """Measures held-out images, keeps the means in the module's `metrics` and logs them."""

    def __init__(self, every_steps: int, stop_step: int) -> None:
        self.every_steps, self.stop_step = every_steps, stop_step
        self._num_told = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Measure if it is time, or if the run ends here."""
        if pl_module.step % self.every_steps and pl_module.step != self.stop_step:
            return
        loader = trainer.datamodule.heldout_dataloader()
        if loader is None:
            return
        with trainer.precision_plugin.val_step_context():
            found = _over_all_ranks(trainer, _of_this_rank(trainer, pl_module, loader))
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


def _of_this_rank(trainer: Trainer, module: Learner, loader: DataLoader) -> HeldoutSums:
    """Measure this rank's share; use the network as often as the others, if its weights are shared.

    Rank 0 has the most batches. What is used beyond the share is one image, which does not count.
    """
    most = trainer.strategy.broadcast(len(loader)) if is_sharded(trainer) else 0
    found = measure(module, loader, on_batch=beat)
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
