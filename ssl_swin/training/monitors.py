"""Watches while pretraining whether features become better: neighbours, and signs of collapse."""

import math
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from ssl_swin import signals
from ssl_swin.features.collapse import collapse_signs
from ssl_swin.features.neighbours import knn_scores
from ssl_swin.phases import Phase, duration
from ssl_swin.training.fixed_images import FixedImages
from ssl_swin.training.loggers import log
from ssl_swin.training.looking import looking
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.trainer import say

# in metrics: what was to be looked at at this step was not; the best of all looks
DUE, BEST = "monitors_due", "best_knn"
NUM_NEIGHBOURS = 20
COLLAPSED_RANKME, COLLAPSED_COSINE = 1.5, 0.9995


@dataclass(frozen=True)
class Monitored:
    """What is looked at, and how often."""

    every_steps: int
    images: FixedImages
    """Of which signs of collapse are told."""
    labelled: FixedImages | None = None
    """Of which each is classified by its neighbours."""


class _Stopped(Exception):
    """A signal came, on this rank or on any."""


class Monitors(Callback):
    """Looks at features, keeps the numbers in the module's `metrics` and logs them.

    After a signal it stops looking, on all ranks before the same batch, and the run stops at this
    step: the next life looks first, and finds the same weights. The look that begins a life goes
    on to its end, so that each life gets further, and so does the last of a run.

    Args:
        monitored: What is looked at, and how often.
        stop_step: The step the run ends at.
        stop_here: Is called on all ranks with the signal for which no further step is taken.
    """

    def __init__(
        self, monitored: Monitored, stop_step: int, stop_here: Callable[[int], None]
    ) -> None:
        self.monitored, self.stop_step, self.stop_here = monitored, stop_step, stop_here
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: PretrainModule) -> None:
        """Look at what the life before did not come to."""
        if pl_module.metrics.pop(DUE, None):
            self._watch(trainer, pl_module, may_stop=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: PretrainModule, *_: Any) -> None:
        """Look if it is time, or if the run ends here."""
        is_last = pl_module.step == self.stop_step
        if pl_module.step % self.monitored.every_steps == 0 or is_last:
            self._watch(trainer, pl_module, may_stop=not is_last)

    def _watch(self, trainer: Trainer, module: PretrainModule, may_stop: bool) -> None:
        phase = Phase("looking at features")
        try:
            with phase:
                found = self._look(trainer, module, may_stop)
        except _Stopped as stopped:
            number = stopped.args[0]
            module.metrics[DUE] = 1
            self.stop_here(number)
            say(f"{signal.Signals(number).name}: the next life looks at features first")
            return
        module.metrics.update(found)
        if "knn" in found:
            module.metrics[BEST] = max(found["knn"], module.metrics.get(BEST, 0.0))
        epoch = module.step / module.schedule.steps_per_epoch
        most = min(len(self.monitored.images), module.network.encoder.num_features)
        told = quality_told(found | {BEST: module.metrics.get(BEST)}, most)
        say(f"quality, epoch {epoch:.4g}: {told}, {duration(phase.seconds)}")
        if not self._warned and looks_collapsed(found):
            self._warned = True
            say(
                "warning: the network gives all images nearly the same features, so it has "
                "learned nothing or unlearned it; docs/when-it-does-not-learn.md tells what to try"
            )
        log(trainer, {f"quality/{name}": value for name, value in found.items()})

    def _look(self, trainer: Trainer, module: PretrainModule, may_stop: bool) -> dict[str, float]:
        """Return all numbers, the same on every rank, by their names in `metrics`."""
        images, labelled = self.monitored.images, self.monitored.labelled
        sets = [images] if labelled is None else [images, labelled]
        look = partial(_stop_together, trainer) if may_stop else _go_on
        for one in sets:
            _read(one, trainer, look, may_stop)
        with looking(trainer, module):
            features = [one.features(trainer, module, look) for one in sets]
        found: dict[str, float] = {}
        if trainer.is_global_zero:
            found = _signs(*features[0])
            if labelled is not None:
                found |= _knn(*features[1], torch.from_numpy(labelled.label))
        found = trainer.strategy.broadcast(found)
        return {name: value for name, value in found.items() if math.isfinite(value)}


def _go_on() -> None:
    """Hear nothing."""


def _stop_together(trainer: Trainer) -> None:
    """Raise on all ranks, if there is a signal on any; all call this at the same time."""
    mine = torch.tensor(float(signals.received()), device=trainer.strategy.root_device)
    if number := int(trainer.strategy.reduce(mine, reduce_op="max")):
        raise _Stopped(number)


def _stop_alone() -> None:
    if number := signals.received():
        raise _Stopped(number)


def _read(images: FixedImages, trainer: Trainer, look: Callable[[], None], may_stop: bool) -> None:
    """Read a rank's share; a signal ends the wait on its rank, and then, together, on all."""
    with suppress(_Stopped):  # as all ranks are told next
        images.read(trainer, _stop_alone if may_stop else _go_on)
    look()


def _signs(features: Mapping[str, Tensor], known: Tensor) -> dict[str, float]:
    """Return the signs of collapse of each stage, named after it, and of the last."""
    if int(known.sum()) < 2:
        return {}
    found: dict[str, float] = {}
    for name, of_stage in features.items():
        ending = "" if name == "last" else f"_{name}"
        signs = collapse_signs(of_stage[known].cpu())
        found |= {f"{sign}{ending}": value for sign, value in signs.items()}
    return found


def _knn(features: Mapping[str, Tensor], known: Tensor, label: Tensor) -> dict[str, float]:
    """Return how many images are of the class that their neighbours say, per cent."""
    last, label = features["last"][known].cpu(), label[known.cpu()]
    if len(last) < 2 or not last.isfinite().all():
        return {}
    num_classes = int(label.max()) + 1
    scores = knn_scores(last, label, last, num_classes, NUM_NEIGHBOURS, leave_one_out=True)
    return {"knn": 100 * float((scores.argmax(1) == label).double().mean())}


def looks_collapsed(found: Mapping[str, float | None]) -> bool:
    """Return whether features of different images hardly differ, by the names of `metrics`."""
    rank, cosine = found.get("rankme"), found.get("mean_cosine")
    too_low = rank is not None and rank < COLLAPSED_RANKME
    return too_low or (cosine is not None and cosine > COLLAPSED_COSINE)


def quality_told(found: Mapping[str, float | None], most: int | None = None) -> str:
    """Say what was found, by the names of `metrics`; RankMe is `most` at most, if that is known."""
    parts = []
    if (knn := found.get("knn")) is not None:
        best = found.get(BEST)
        is_best = best is None or f"{best:.1f}" == f"{knn:.1f}"
        parts.append(f"kNN {knn:.1f} %" + ("" if is_best else f" (best {best:.1f} %)"))
    if (rank := found.get("rankme")) is not None:
        parts.append(f"RankMe {rank:.1f}" + ("" if most is None else f" of {most}"))
    if (std := found.get("feature_std")) is not None:
        parts.append(f"feature std {std:.2f}")
    if (cosine := found.get("mean_cosine")) is not None:
        parts.append(f"mean cosine {cosine:.3f}")
    return ", ".join(parts) or "nothing finite"
