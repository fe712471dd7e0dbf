"""Measures held-out images between two steps, each rank its share of them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_swin import signals
from ssl_swin.evaluation.auroc import areas
from ssl_swin.evaluation.heldout import NUM_OF, HeldoutSums, measure
from ssl_swin.phases import Phase, duration
from ssl_swin.record.measures import MEASURES, heldout_told
from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.heldout_pictures import HeldoutPictures
from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log
from ssl_swin.training.trainer import say
from ssl_swin.training.waiting import patiently
from ssl_swin.training.watchdog import beat

# in metrics: what was to be measured at this step was not; the lowest loss of all measurements
DUE, LOWEST = "heldout_due", "best_heldout_loss"
_LARGEST = tuple(name for name, one in MEASURES.items() if one.best == "best")
_AT_ONCE = 64  # classes whose scores are on a rank at once


class Measurement(Callback):
    """Measures held-out images, keeps the means in the module's `metrics` and logs them.

    If there is a moving average of the weights, that is what is measured.

    After a warning there may be no time to measure to the end, so then all is saved first, and the
    next life measures what this one may not come to. Where the run ends it is not: there would be
    no next life that takes a step.

    Args:
        every_steps: Steps between measurements.
        stop_step: The step the run ends at.
        save: Saves this rank's part of that, without waiting for other ranks, once a step.
        pictures: Draws what a classifier took the images for.
    """

    def __init__(
        self,
        every_steps: int,
        stop_step: int,
        save: Callable[[Trainer, Learner], None],
        pictures: HeldoutPictures | None = None,
    ) -> None:
        self.every_steps, self.stop_step, self.save = every_steps, stop_step, save
        self.pictures = pictures
        self._num_told, self._warned = 0, False

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
                with pl_module.exchanged():  # back: what is saved is as after the step
                    self.save(trainer, pl_module)
                del pl_module.metrics[DUE]

        phase = Phase("measuring held-out images")
        with phase, pl_module.exchanged(), trainer.precision_plugin.val_step_context():
            mine = _of_this_rank(trainer, pl_module, loader, look, phase)
            found = _over_all_ranks(trainer, mine)
        means, metrics, before = found.means(), pl_module.metrics, pl_module.best
        if pl_module.best_metric == "best_auroc" and found.num_measured:
            means["auroc"] = macro_auroc(trainer, mine)
        means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        self._keep_best(means, pl_module)
        epoch = pl_module.step / pl_module.schedule.steps_per_epoch
        found_now = heldout_told(means | {LOWEST: metrics.get(LOWEST)})
        say(f"held-out, epoch {epoch:.4g}: {found_now}, {duration(phase.seconds)}")
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
        if self.pictures is not None:
            which = pl_module.best != before, pl_module.step == self.stop_step
            self.pictures.take(trainer, found, mine.answers, which)

    def _keep_best(self, means: dict[str, float], module: Learner) -> None:
        """Put what was measured into the `metrics`; into both the best so far."""
        metrics = module.metrics
        for name, best in ((one, f"best_{one}") for one in _LARGEST):
            if name in means and best in ("best_top1", module.best_metric):
                means[best] = max(means[name], metrics.get(best, -math.inf))
        if "heldout_loss" in means:
            lowest = metrics.get(LOWEST, metrics.get("heldout_loss", math.inf))
            metrics[LOWEST] = min(means["heldout_loss"], lowest)
        metrics.update(means)
        name = (module.best_metric or "").removeprefix("best_")
        if name in _LARGEST and name not in means and not self._warned:
            self._warned = True
            say(
                f"warning: the held-out images have no {MEASURES[name].word}, as when all have one "
                "label or none can be decoded: so these weights are not kept as the best"
            )


def _of_this_rank(
    trainer: Trainer, module: Learner, loader: DataLoader, look: Callable[[], None], phase: Phase
) -> HeldoutSums:
    """Measure this rank's share; use the network as often as the others, if its weights are shared.

    Rank 0 has the most batches. What is used beyond the share is one image, which does not count.
    """
    most = trainer.strategy.broadcast(len(loader)) if is_sharded(trainer) else 0
    num_done = 0

    def on_batch() -> None:
        nonlocal num_done
        num_done += 1
        beat()

    phase.far = lambda: f"{num_done} of {len(loader)} batches"
    found = measure(module, patiently(loader, look), on_batch)
    if lacking := max(0, most - len(loader)):
        measure(module, [trainer.datamodule.fixed_images(1)] * lacking, on_batch=beat)
    return found


def _over_all_ranks(trainer: Trainer, found: HeldoutSums) -> HeldoutSums:
    """Add up over the ranks; a rank without images knows no names, so rank 0 tells them."""
    shapes = trainer.strategy.broadcast({name: sums.shape for name, sums in found.sums.items()})
    device = trainer.lightning_module.device
    counts = torch.tensor([found.num_measured, found.num_left_out], device=device).double()
    none = {name: counts.new_zeros(shape) for name, shape in shapes.items()}
    mine = [found.sums.get(name, zero).flatten() for name, zero in none.items()]
    # one row: both counts, then the sums
    total = trainer.strategy.reduce(torch.cat([counts, *mine]), reduce_op="sum")
    parts = total[2:].split([zero.numel() for zero in none.values()])
    sums = {name: part.view(shapes[name]) for name, part in zip(none, parts, strict=True)}
    return HeldoutSums(sums, int(total[0]), int(total[1]))


def macro_auroc(trainer: Trainer, mine: HeldoutSums) -> float:
    """Return the mean over classes of the area under the ROC curve, over the images of all ranks.

    All ranks call it, and find the same. A class without images, or without others, has none; if
    none has, it is not a number.
    """
    module = trainer.lightning_module
    counts = torch.zeros(trainer.world_size, dtype=torch.float64, device=module.device)
    counts[trainer.global_rank] = mine.num_measured
    counts = trainer.strategy.reduce(counts, reduce_op="sum").long()
    num_classes = trainer.strategy.broadcast(mine.sums[NUM_OF].numel() if mine.sums else 0)
    none = torch.zeros(0, num_classes, dtype=torch.float64, device=module.device)
    scores = none if mine.scores is None else mine.scores

    def of_all(part: Tensor) -> Tensor:
        """Return the rows of all ranks, each in its own place, so that their sum is all."""
        whole = part.new_zeros((trainer.world_size, int(counts.max()), part.shape[1]))
        whole[trainer.global_rank, : len(part)] = part
        whole = trainer.strategy.reduce(whole, reduce_op="sum")
        return torch.cat([rows[:num] for rows, num in zip(whole, counts.tolist(), strict=True)])

    label = of_all(scores[:, :1] if mine.answers is None else mine.answers[:, 1:2])[:, 0]
    parts = range(0, num_classes, _AT_ONCE)
    found = [areas(of_all(scores[:, one : one + _AT_ONCE]), label, one) for one in parts]
    return float(torch.cat(found).mean())
