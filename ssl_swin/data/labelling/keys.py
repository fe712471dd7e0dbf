"""The keys of all samples of a set, as hashes, and a table that finds them."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ssl_swin.data.shards.names import sample_key
from ssl_swin.data.shards.reader import ShardReader, better_whole
from ssl_swin.data.shards.shard_set import ShardSet

_NUM_THREADS = 8
_AT_ONCE = 4096  # headers in memory
_BLOCK = 512  # bytes of a tar's header
_NUM_BYTES = 16  # of a hash, so that two keys are never taken for one


def hashes_of(keys: Iterable[str]) -> np.ndarray:
    """Hash keys: uint64 (number, 2)."""
    each = (key.encode("utf-8", "surrogateescape") for key in keys)
    joined = b"".join(hashlib.blake2b(one, digest_size=_NUM_BYTES).digest() for one in each)
    return np.frombuffer(joined, "<u8").reshape(-1, 2)


class HashTable:
    """Rows that are found by the hash of their key, uint64 (num_rows, 2)."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._order = np.argsort(hashes[:, 0], kind="stable")
        self._sorted = hashes[self._order]

    def twice(self) -> tuple[int, int] | None:
        """Return the first row whose key an earlier one has, after that earlier one."""
        same = np.flatnonzero((self._sorted[1:] == self._sorted[:-1]).all(axis=1))
        if not len(same):
            return None
        at = same[self._order[same + 1].argmin()]
        return int(self._order[at]), int(self._order[at + 1])

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the row of each key, by its hash, uint64 (number, 2); -1 for none: int64."""
        if not len(self._sorted):
            return np.full(len(hashes), -1, np.int64)
        at = np.searchsorted(self._sorted[:, 0], hashes[:, 0])
        at = np.minimum(at, len(self._sorted) - 1)
        return np.where((self._sorted[at] == hashes).all(axis=1), self._order[at], -1)


def hashes_of_set(shards: ShardSet) -> np.ndarray:
    """Hash the keys of all samples of a set, in its order: uint64 (num_samples, 2).

    Headers alone are read; but of a remote set with many samples whole tars come into the cache.

    Raises:
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        parts = list(pool.map(partial(_of_shard, shards), range(len(shards.counts))))
    return np.concatenate([np.empty((0, 2), np.uint64), *parts])


def _of_shard(shards: ShardSet, shard: int) -> np.ndarray:
    return hashes_of(keys_of(shards, shard))


def keys_of(shards: ShardSet, shard: int) -> Iterator[str]:
    """Yield the key of each sample of a shard, as `ShardReader.key` says it, and faster."""
    storage, rows = shards.storage, shards.storage.rows(shard)
    whole = better_whole(shards)
    reader = ShardReader(shards, whole)
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        sizes = np.maximum(some["offset"] - some["header"], 0)  # a hard link's is elsewhere
        places = list(zip(some["header"].tolist(), sizes.tolist(), strict=True))
        if whole:
            heads = [storage.read(shard, *place) for place in places]
        else:
            heads = storage.read_pieces(shard, places)
        for row, head in enumerate(heads, first):
            name = _name_in(head)
            yield reader.key(shard, row) if name is None else sample_key(name)[0]


def _name_in(head: bytes) -> str | None:
    """Return the name in a member's header, as tarfile reads it; None if it is not a plain one.

    A header of pax's may stand before it, such as one with the time; but then not with the name.
    """
    block, before = head[-_BLOCK:], head[:-_BLOCK]
    if len(block) < _BLOCK or block[156:157] not in (b"0", b"\0"):
        return None
    if before and (before[156:157] != b"x" or b"path=" in before or b"charset=" in before):
        return None
    name, folder = (block[start:stop].split(b"\0", 1)[0] for start, stop in ((0, 100), (345, 500)))
    whole = folder + b"/" + name if folder else name
    return whole.decode("utf-8", "surrogateescape") or None
