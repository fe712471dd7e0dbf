"""The classes of samples, and a part of a set that is balanced over them."""

from dataclasses import dataclass

import numpy as np

from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.draw import Purpose, permutation
from ssl_swin.errors import ShardError, UserError


@dataclass(frozen=True)
class Labels:
    """Where labels come from: `.cls` members, or this field of `.json` members."""

    num_classes: int
    """Classes of the model, numbered from 0."""
    field: str = "label"

    def read(self, reader: ShardReader, shard: int, row: int) -> int:
        """Return one sample's label; ShardError if it has none, or no class of the model."""
        label = reader.label(shard, row, self.field)
        if not 0 <= label < self.num_classes:
            raise ShardError(
                f"{reader.shards.storage.where(shard)}, sample {row}: label {label} is not a class "
                f"of the model, which knows 0 to {self.num_classes - 1}; set num_classes or mend "
                "the shard"
            )
        return label


def balanced_subset(shards: ShardSet, labels: Labels, num_labels: int, seed: int) -> np.ndarray:
    """Draw equally many samples of each class, one more of the first classes if there is a rest.

    Reads all labels. Returns places in the shard set, int64 (num_labels,), ascending.

    Raises:
        UserError: If the set has fewer samples of some class than its part.
        ShardError: As `Labels.read`.
    """
    reader = ShardReader(shards)
    places = np.stack(shards.locate(np.arange(shards.num_samples)), axis=1)  # (num_samples, 2)
    label = np.array([labels.read(reader, *place) for place in places.tolist()])  # (num_samples,)
    parts = np.full(labels.num_classes, num_labels // labels.num_classes)  # (num_classes,)
    parts[: num_labels % labels.num_classes] += 1
    chosen = []
    for kind, part in enumerate(parts):
        members = np.flatnonzero(label == kind)  # (samples of the class,)
        if len(members) < part:
            raise UserError(
                f"data.num_labels={num_labels} needs {part} images of class {kind}; the training "
                f"shards hold {len(members)}; ask for fewer labels"
            )
        chosen.append(members[permutation(len(members), Purpose.SUBSET, seed, kind)[:part]])
    return np.sort(np.concatenate(chosen))
