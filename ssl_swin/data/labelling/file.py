"""Labels of a file, by the keys of samples: read once, then found for each set."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ssl_swin.data.labelling.keys import HashTable, hashes_of, hashes_of_set
from ssl_swin.data.labelling.table import Row, read_rows
from ssl_swin.data.labelling.values import UnusableLabel, Values
from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class LabelFile:
    """The labels of a file, and whose they are."""

    path: Path
    name: str
    """What errors call it."""
    labels: GivenLabels
    """Of its rows, in its order."""
    table: HashTable
    said: tuple[str, ...]
    """What is to be said of its classes."""

    @classmethod
    def read(cls, path: Path, name: str, task: str, known: Sequence[str] | None) -> "LabelFile":
        """Read a file whose classes are `known`, or else named by it alone.

        Raises:
            UserError: If it is no such file, a key is in it twice, or a label is no label.
        """
        values, hashes = Values(task), []
        rows = read_rows(path, name)
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            hashes.append(hashes_of(row.key for row in some))
            for row in some:
                _add(values, row, name)
        if not hashes:
            raise UserError(f"{name} has no rows below its first line; write one for each label")
        table = HashTable(np.concatenate(hashes))
        labels, said = values.finish(known, name, str(path))
        if pair := table.twice():
            _refuse_twice(path, name, pair)
        return cls(path, name, labels, table, tuple(said))

    def of_set(self, shards: ShardSet, where: str) -> np.ndarray:
        """Return the row here of each sample of a set, called `where`, int64; -1 for none.

        Raises:
            UserError: If two samples have a key that is here.
        """
        rows = self.table.find(hashes_of_set(shards))
        found = np.flatnonzero(rows >= 0)
        order = found[np.argsort(rows[found], kind="stable")]
        again = order[1:][rows[order[1:]] == rows[order[:-1]]]
        if len(again):
            second = int(again.min())
            first = int(np.flatnonzero(rows == rows[second])[0])
            raise UserError(
                f"{self.name} has one label for the key {self.key_of(int(rows[second]))!r}, which "
                f"two samples of {where} have, in {_tar_of(shards, first)} and "
                f"{_tar_of(shards, second)}; pack them again with keys of their own"
            )
        return rows

    def key_of(self, row: int) -> str:
        """Return the key of one row, read from the file again."""
        return printable(next(islice(read_rows(self.path, self.name), row, None)).key)


def first_key(shards: ShardSet, place: int = 0) -> str:
    """Return the key of one sample, for people."""
    shard, row = (int(one[0]) for one in shards.locate(np.array([place])))
    return printable(ShardReader(shards, whole=False).key(shard, row))


def _tar_of(shards: ShardSet, place: int) -> str:
    shard, _ = shards.locate(np.array([place]))
    return shards.storage.where(int(shard[0]))


def _add(values: Values, row: Row, name: str) -> None:
    if not row.key:
        raise UserError(f"{name}, {row.place}, has no key; write which sample it is of")
    try:
        values.add(row.value)
    except UnusableLabel as error:
        raise UserError(
            f"{name}, {row.place}, has no label of the task {values.task} for "
            f"{printable(row.key)!r}: {error}; mend it, or leave the row out"
        ) from None


def _refuse_twice(path: Path, name: str, pair: tuple[int, int]) -> None:
    """Refuse the first key that two rows have."""
    first, second = (next(islice(read_rows(path, name), row, None)) for row in pair)
    labels = f"both with the label {second.value!r}"
    if first.value != second.value:
        labels = f"with the labels {first.value!r} and {second.value!r}"
    raise UserError(
        f"{name} has the key {printable(first.key)!r} twice, {first.place} and {second.place}, "
        f"{labels}; leave one of them"
    )
