"""What samples are that have no single class: several classes, or numbers, as one row each."""

from dataclasses import dataclass

import numpy as np

from ssl_swin.data.shards.given import MULTI
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError


@dataclass(frozen=True)
class Targets:
    """Makes the row of each sample, float64 (num,), of the labels that its set is given."""

    task: str
    num: int
    """Classes, or numbers of a sample."""
    renumber: tuple[int, ...] | None = None
    """The model's number of each class of the set, where their order is another one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample's row."""
        return (self.num,)

    def read(self, reader: ShardReader, shard: int, row: int) -> np.ndarray:
        """Return one sample's row: 1 for each of its classes, or its numbers; float64 (num,).

        Raises:
            ShardError: If it has no label.
        """
        given, place = reader.shards.given, int(reader.shards.starts[shard]) + row
        if given is None or given.missing[place]:
            raise ShardError(
                f"sample {reader.key(shard, row)!r} of {reader.storage.where(shard)} has no label "
                f"of the task {self.task}; give it one, or leave it out"
            )
        if self.task != MULTI:
            return given.of(place)
        found, classes = np.zeros(self.num), given.of(place)
        found[classes if self.renumber is None else np.array(self.renumber)[classes]] = 1
        return found

    def all(self, shards: ShardSet) -> np.ndarray:
        """Return the rows of all samples, float64 (num_samples, num); those without one are NaN."""
        given = shards.given
        assert given is not None
        rows = np.full((shards.num_samples, self.num), np.nan)
        known = ~given.missing
        if self.task != MULTI:
            rows[known] = given.values.reshape(-1, self.num)
            return rows
        rows[known] = 0
        sample = np.repeat(np.arange(shards.num_samples), np.diff(given.starts))
        classes = given.values if self.renumber is None else np.array(self.renumber)[given.values]
        rows[sample, classes] = 1
        return rows

    def check(self, shards: ShardSet, name: str) -> str | None:
        """Refuse a set, called `name`, without labels, or with others than the model's.

        Raises:
            UserError: If it has none, other classes, or another number of numbers.
        """
        given = shards.given
        if given is None or not given.num_known:
            raise UserError(
                f"none of the {shards.num_samples} {name} images has a label of the task "
                f"{self.task}, the first is in {shards.storage.where(0)}: give each "
                f"{'a list of classes' if self.task == MULTI else 'a number, or a list of them,'} "
                "in data.label_field of .json, or in the file data.labels"
            )
        if self.task == MULTI:
            largest = int(given.values.max(initial=-1))
            if self.renumber is None and largest >= self.num:
                raise UserError(
                    f"the {name} images are of classes up to {largest}, and the model knows 0 to "
                    f"{self.num - 1}; set num_classes={largest + 1} or more"
                )
            return None
        if len(given.values) != given.num_known * self.num:
            raise UserError(
                f"the {name} images have {len(given.values) // given.num_known} numbers each, and "
                f"the model gives {self.num}; give each image as many"
            )
        return None
