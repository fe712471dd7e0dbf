"""The images of a fine-tuning by their classes: which are used, and what each class weighs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.batches.labels import Labels, balanced_subset
from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.order.balanced import BalancedOrder
from ssl_swin.data.order.lanes import Order
from ssl_swin.data.shards.classes import Names
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.models.class_loss import balanced_weights
from ssl_swin.runs.classes import given_weights
from ssl_swin.runs.sizes import labelled_places


@dataclass(frozen=True)
class LabelledImages:
    """The training images of a run, and their labels as far as the run asks for them; see `of`."""

    sets: list[ShardSet]
    shares: tuple[float, ...]
    """Of the places of an epoch that each set gets; they sum to 1."""
    labels: Labels | None
    places: np.ndarray | None = None
    """As in `SetOrder`: places in the one set of the images that are used; None for all."""

    @classmethod
    def of(
        cls, config: RunConfig, sets: list[ShardSet], labels: Labels | Targets | None
    ) -> "LabelledImages":
        """Draw the images of a run; no label is read unless `data.num_labels` needs them.

        What is no one class of each image is not looked at.

        Raises:
            UserError: If there are too few images of a class, or some of several sets have none.
        """
        labels = labels if isinstance(labels, Labels) else None
        weights = np.array([one.weight for one in config.data.sets] or [1.0])
        shares, places = tuple(weights / weights.sum()), None
        num = config.data.num_labels if isinstance(config, FinetuneConfig) else None
        if labels is not None:
            places = labelled_places(sets)
        if labels is not None and num is not None:
            places = balanced_subset(sets[0], labels, num, config.seed)
        return cls(sets, shares, labels, places)

    @cached_property
    def classes(self) -> list[np.ndarray]:
        """The class of each image of each set, int64 (images that are used,) each; read once."""
        assert self.labels is not None
        found = [self.labels.all(one, "training") for one in self.sets]
        return found if self.places is None else [found[0][self.places]]

    @property
    def frequency(self) -> np.ndarray:
        """The share of each class among the images that are drawn, float64 (num_classes,)."""
        assert self.labels is not None
        num = self.labels.num_classes
        parts = [np.bincount(one, minlength=num) / len(one) for one in self.classes]
        # (sets, num_classes) -> (num_classes,)
        return np.average(parts, axis=0, weights=self.shares)

    def sampled(self, config: RunConfig) -> np.ndarray | None:
        """Return the classes of the images that are drawn by class; None if none are."""
        balanced = isinstance(config, FinetuneConfig) and config.data.sampling == "balanced"
        return self.classes[0] if balanced else None

    def class_weights(self, config: FinetuneConfig, names: Names) -> tuple[float, ...]:
        """Return what each class weighs in the loss, as asked; nothing for 1.

        Raises:
            UserError: If other classes are weighed than those of these names.
        """
        if config.finetune.class_weights == "balanced":
            return tuple(balanced_weights(self.frequency).tolist())
        return given_weights(config, names)


def sampling_told(order: Order, names: Sequence[str]) -> str | None:
    """Say how often images are seen in an epoch, if classes are drawn alike; else None."""
    if not isinstance(order, BalancedOrder):
        return None
    times, present = order.times_seen(), np.unique(order.classes).tolist()
    ends = dict.fromkeys((int(times.argmin()), int(times.argmax())))
    each = order.steps_per_epoch * order.global_batch_size / len(present)
    parts = (
        f"of {names[present[one]]!r} ({len(order.members[one]):,} images) {times[one]:.3g} times"
        for one in ends
    )
    return (
        f"classes are drawn alike: in an epoch each of {len(present)} has {each:,.0f} places, so "
        f"an image {', '.join(parts)}"
    )
