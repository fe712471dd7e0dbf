"""The images of a fine-tuning by their classes: which are used, and what each class weighs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.batches.labels import Labels, balanced_subset
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.models.class_loss import balanced_weights


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
    def of(cls, config: RunConfig, sets: list[ShardSet], labels: Labels | None) -> "LabelledImages":
        """Draw the images of a run; no label is read unless `data.num_labels` needs them.

        Raises:
            UserError: If there are too few images of a class.
        """
        weights = np.array([one.weight for one in config.data.sets] or [1.0])
        shares, places = tuple(weights / weights.sum()), None
        num = config.data.num_labels if isinstance(config, FinetuneConfig) else None
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

    def class_weights(self, config: FinetuneConfig) -> tuple[float, ...]:
        """Return what each class weighs in the loss, as asked; nothing for 1."""
        if config.finetune.class_weights == "none":
            return ()
        return tuple(balanced_weights(self.frequency).tolist())
