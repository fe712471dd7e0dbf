"""The classes of samples, and a part of a set that is balanced over them."""

from dataclasses import dataclass

import numpy as np

from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.draw import Purpose, permutation
from ssl_swin.errors import ShardError, UserError


@dataclass(frozen=True)
class Labels:
    """Where labels come from: `.cls` members, or a field of `.json` members.

    Attributes:
        num_classes: Classes of the model, numbered from 0.
        field: Which field of the `.json`.
    """

    num_classes: int
    field: str = "label"

    def read(self, reader: ShardReader, shard: int, row: int) -> int:
        """Return the label of one sample.

        Raises:
            ShardError: If it has none, or one that is no class of the model.
        """
        label = reader.label(shard, row, self.field)
        if not 0 <= label < self.num_classes:
            where = reader.shards.storage.where(shard)
            raise ShardError(
                f"{where}, sample {row}: label {label} is not a class of the model, which knows "
                f"0 to {self.num_classes - 1}; set num_classes or mend the shard"
            )
        return label


def balanced_subset(shards: ShardSet, labels: Labels, num_labels: int, seed: int) -> np.ndarray:
    """Draw equally many samples of each class, one more of the first classes if there is a rest.

    Args:
        shards: The set; the label of every sample is read.
        labels: Where labels come from.
        num_labels: Samples to draw.
        seed: What the draw depends on.

    Returns:
        Their places in the shard set, int64 (num_labels,), ascending.

    Raises:
        UserError: If the set has fewer samples of some class than its part.
        ShardError: If a label is missing, or is no class of the model.
    """
    reader = ShardReader(shards)
    shard, row = shards.locate(np.arange(shards.num_samples))
    places = zip(shard.tolist(), row.tolist(), strict=True)
    label = np.array([labels.read(reader, *place) for place in places])  # (num_samples,)
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
