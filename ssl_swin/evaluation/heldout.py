"""Measures held-out images: the sums over them, and how many images the sums are over."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ssl_swin.data.batches.batch import Batch
from ssl_swin.evaluation.other_tasks import means_of

NUM_OF, RIGHT_OF = "num_of_class", "right_of_class"  # images by class, and those that were right
SAID, SURE = "said", "sure"  # of each image the class that came first, and its probability
SCORES = "scores"  # of each image the probability of every class


class Measurable(Protocol):
    """A module that says what is measured on a batch; both learners do."""

    training: bool

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return sums over the images of a batch, float64 by name.

        Each is a scalar, but for `NUM_OF` and `RIGHT_OF`, (classes,), of a classifier. Its `SAID`
        and `SURE`, (batch,), are no sums: they are kept, and so are `SCORES`, (batch, classes).
        """

    # What is used of nn.Module:
    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class HeldoutSums:
    """What was measured; the sums and counts of parts add up to those of the whole."""

    sums: dict[str, Tensor]  # name -> sum over the images that were measured, as `measure` says
    num_measured: int
    num_left_out: int  # images that cannot be decoded
    answers: Tensor | None = None
    """float64 (images, 4), of a classifier: place in the set, label, `SAID` and `SURE`."""
    scores: Tensor | None = None
    """float64 (images, classes), if a classifier measures them: `SCORES`, in the same order."""

    def means(self) -> dict[str, float]:
        """Return the mean of each measurement over the images; of no images it is not a number.

        `balanced_top1`, in per cent, is the mean over the classes that have images.
        """
        each = {name: value for name, value in self.sums.items() if not value.ndim}
        means = {name: float(value / self.num_measured) for name, value in each.items()}
        if NUM_OF in self.sums:
            num, right = self.sums[NUM_OF], self.sums[RIGHT_OF]
            means["balanced_top1"] = float(100 * (right / num)[num > 0].mean())
        return means | means_of(self.sums)


def measure(
    module: Measurable, loader: Iterable[Batch], on_batch: Callable[[], None] = lambda: None
) -> HeldoutSums:
    """Measure all images of a loader once, with drop path and dropout off.

    Where a batch's `replaced` is not -1, another image stands in for one that cannot be decoded.
    It is left out here, for it comes once more in its own place.
    """
    device, was_training = next(module.parameters()).device, module.training
    sums: dict[str, Tensor] = {}
    answers: list[Tensor] = []
    scores: list[Tensor] = []
    num_measured = num_left_out = 0
    module.train(False)
    with torch.no_grad():
        for batch in loader:
            good = batch["replaced"] < 0
            num_good, num = int(good.sum()), len(good)
            if 0 < num_good < num:
                batch = {name: value[good] for name, value in batch.items()}
            batch = {name: value.to(device) for name, value in batch.items()}
            found = module.measure(batch)
            if SAID in found:
                each = (batch["index"], batch["label"], found.pop(SAID), found.pop(SURE))
                answers.append(torch.stack([one.double() for one in each], dim=1)[:num_good])
            if SCORES in found:
                scores.append(found.pop(SCORES)[:num_good])
            for name, value in found.items():
                # Where no image is good the names still count: all ranks must know them.
                sums[name] = sums.get(name, 0) + (value if num_good else torch.zeros_like(value))
            num_measured, num_left_out = num_measured + num_good, num_left_out + num - num_good
            on_batch()
    module.train(was_training)
    kept, probabilities = (torch.cat(one) if one else None for one in (answers, scores))
    return HeldoutSums(sums, num_measured, num_left_out, kept, probabilities)
