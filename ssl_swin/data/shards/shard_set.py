"""A set of tars: how many samples each holds, and which sample has which number.

The place of every image in its tar is in an index (`index_file.py`), so any sample is one read at a
known offset and no tar is read from its start. The contract is in the top-level `data/README.md`.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.data.shards.left_out import LeftOut, add_up
from ssl_swin.data.shards.storage import Storage


@dataclass(frozen=True, eq=False)
class ShardSet:
    """An ordered set of tars; a sample's id is its place in all of them, one after the other."""

    storage: Storage
    """The tars, in the order that gives samples their ids."""
    set_sizes: tuple[int, ...] = ()
    """Shards of each of the sets that were joined to this one; empty if it is one."""
    given: GivenLabels | None = None
    """The labels of its samples, where the tars do not say them as numbers of classes."""

    @cached_property
    def counts(self) -> np.ndarray:
        """int64 (num_shards,): samples of each tar."""
        return np.array([entry.num_samples for entry in self.storage.entries], dtype=np.int64)

    @cached_property
    def bytes(self) -> np.ndarray:
        """int64 (num_shards,): size of each tar when it was indexed."""
        return np.array([entry.num_bytes for entry in self.storage.entries], dtype=np.int64)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (num_shards + 1,): id of each shard's first sample; the last is the total."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts, dtype=np.int64)])

    @cached_property
    def left_out(self) -> LeftOut:
        """What is in no sample, of all tars and beside them, as far as it is known."""
        return add_up([self.storage.left_out, *(one.left_out for one in self.storage.entries)])

    @property
    def num_samples(self) -> int:
        """Samples of all shards together."""
        return int(self.starts[-1])

    def locate(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn sample ids, of any shape, into shards and rows within them, int64 of that shape.

        Raises:
            ValueError: If an id is not in [0, num_samples).
        """
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < self.num_samples):
            raise ValueError(
                f"ids run from {ids.min()} to {ids.max()}; allowed are 0 to {self.num_samples - 1}"
            )
        shard = np.searchsorted(self.starts, ids, side="right") - 1
        return shard, ids - self.starts[shard]

    def from_shard(self, shard: int) -> Iterator[int]:
        """Yield the shards of a shard's set, itself first, then the next ones, round to before."""
        yield shard
        stops = np.cumsum(self.set_sizes or (len(self.counts),))
        place = int(np.searchsorted(stops, shard, side="right"))
        first = int(stops[place - 1]) if place else 0
        yield from range(shard + 1, int(stops[place]))
        yield from range(first, shard)

    def fingerprint(self) -> str:
        """Hash of names, counts, sizes and sets in order: the same for a copy elsewhere."""
        digest = hashlib.sha256()
        for path, entry in zip(self.storage.paths, self.storage.entries, strict=True):
            numbers = f"\0{entry.num_samples}\0{entry.num_bytes}\n"
            digest.update(os.fsencode(path.name) + numbers.encode())
        digest.update(b"".join(b"%d\n" % size for size in self.set_sizes))
        return digest.hexdigest()

    def describe(self) -> dict[str, int | str]:
        """What a run records of its shards, ready for JSON."""
        found: dict[str, int | str] = {
            "num_shards": len(self.storage.paths),
            "num_samples": self.num_samples,
            "num_bytes": int(self.bytes.sum()),
            "fingerprint": self.fingerprint(),
        }
        if self.given is not None and self.given.file is not None:
            found["labels"] = self.given.digest()
        return found
