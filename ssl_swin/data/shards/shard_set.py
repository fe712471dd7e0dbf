"""First stop of the route: which shards, how many samples, at which bytes; reading one of them.

The place of every image in its tar is in an index beside it (`layout.py`, made by `index.py`), so
any sample is one read at a known offset and no tar is read from its start. Numpy and the standard
library only. The contract in words is in the top-level `data/README.md`.
"""

import hashlib
import io
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_swin.data.shards.index_file import (
    CLS_LABEL,
    NO_LABEL,
    check_rows,
    index_path,
    load_index,
)
from ssl_swin.data.shards.local import LocalFiles, read_at
from ssl_swin.data.shards.manifest import Entry, known_entries
from ssl_swin.data.shards.names import expand, is_remote, sample_key
from ssl_swin.data.shards.tar import DAMAGED, changed, check_headers, check_size, open_headers
from ssl_swin.errors import ShardError

if TYPE_CHECKING:
    from ssl_swin.data.remote.cache import ShardCache
    from ssl_swin.data.remote.remote_shards import RemoteShards


_CHECKED_AT_OPEN = 1000  # shards whose present size is looked up when a set opens


@dataclass(frozen=True, eq=False)
class ShardSet:
    """An ordered set of tars; a sample's id is its place in all of them, one after the other."""

    paths: tuple[Path, ...]
    """The tars, in the order that gives samples their ids; of remote ones, where they lie in the
    cache when they do."""
    counts: np.ndarray
    """int64 (num_shards,): samples of each tar."""
    bytes: np.ndarray
    """int64 (num_shards,): size of each tar when it was indexed."""
    cache_dir: Path | None = None
    """Root of the cache of indexes for folders that cannot be written to."""
    remote: "RemoteShards | None" = None
    """Where the shards come from if they are not here."""
    set_sizes: tuple[int, ...] = ()
    """Shards of each of the sets that were joined to this one; empty if it is one."""
    max_mapped: int = 128
    """Indexes kept mapped into memory at once; each is an open file too."""
    _tables: OrderedDict[int, np.ndarray] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    @classmethod
    def open(
        cls,
        pattern: str,
        index_missing: bool = True,
        cache_dir: Path | None = None,
        num_workers: int = 8,
        cache: "ShardCache | None" = None,
    ) -> "ShardSet":
        """Find the shards of a pattern and what the indexes say of them.

        Args:
            pattern: A folder, a tar, `train-{000000..000009}.tar`, or a glob; or a URL of these.
            index_missing: Index tars that have none, beside them or in the cache.
            cache_dir: Root of the cache for read-only places and remote shards; None means
                `~/.cache/ssl_swin`.
            num_workers: Threads that index, at least 1.
            cache: Where remote shards go; None means `cache_dir`, up to 80 % of what is free.

        Raises:
            ShardError: If nothing matches, a named shard is missing, an index is missing and
                may not be made, or a tar changed since it was indexed.
        """
        if is_remote(pattern):  # fsspec is imported for nothing else
            from ssl_swin.data.remote.cache import ShardCache
            from ssl_swin.data.remote.remote_shards import open_remote

            cache = cache or ShardCache.open(cache_dir)
            remote = open_remote(pattern, index_missing, num_workers, cache)
            return cls(remote.paths, *_columns(remote.entries), cache_dir, remote)
        paths = tuple(expand(pattern))
        known = known_entries(paths, cache_dir)
        missing = [
            path for path in paths if path not in known and not index_path(path, cache_dir).exists()
        ]
        if missing and not index_missing:
            raise ShardError(
                f"{len(missing)} of {len(paths)} shards have no index, the first is {missing[0]}; "
                f"run: ssl-swin shards index {pattern}"
            )
        if missing:
            from ssl_swin.data.shards.indexing import index_shards

            index_shards(missing, num_workers=num_workers, cache_dir=cache_dir)
        for path in paths:
            if path not in known:
                table = load_index(index_path(path, cache_dir))
                known[path] = Entry(len(table) - 1, int(table[-1]["header"]))
        for path in paths[:_CHECKED_AT_OPEN]:
            check_size(path, known[path].num_bytes)
        return cls(paths, *_columns([known[path] for path in paths]), cache_dir)

    @classmethod
    def join(cls, sets: Sequence["ShardSet"]) -> "ShardSet":
        """Lay several sets end to end.

        Raises:
            ShardError: If a tar is in two of them, or some are remote and some are not.
        """
        if len(sets) == 1:
            return sets[0]
        paths = tuple(path for one in sets for path in one.paths)
        if len(set(paths)) < len(paths):
            twice = next(path for place, path in enumerate(paths) if path in paths[:place])
            raise ShardError(f"{twice} is in two of the sets; leave it in one, with more weight")
        return cls(
            paths,
            np.concatenate([one.counts for one in sets]),
            np.concatenate([one.bytes for one in sets]),
            sets[0].cache_dir,
            _join_remote(sets),
            tuple(len(one.paths) for one in sets),
        )

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (num_shards + 1,): id of each shard's first sample; the last is the total."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts, dtype=np.int64)])

    @property
    def num_samples(self) -> int:
        """Samples of all shards together."""
        return int(self.starts[-1])

    def locate(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn sample ids into shards and rows within them.

        Args:
            ids: int64, any shape, each in [0, num_samples).

        Returns:
            Shard and row, int64, both of the shape of `ids`.

        Raises:
            ValueError: If an id is outside the set.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < self.num_samples):
            raise ValueError(
                f"ids run from {ids.min()} to {ids.max()}; allowed are 0 to {self.num_samples - 1}"
            )
        shard = np.searchsorted(self.starts, ids, side="right") - 1
        return shard, ids - self.starts[shard]

    def rows(self, shard: int) -> np.ndarray:
        """The index of one shard, mapped into memory.

        Args:
            shard: Place of the shard in `paths`.

        Returns:
            `SAMPLE_DTYPE` (count,), one row a sample.

        Raises:
            ShardError: If the index is missing, or the tar changed since it was indexed.
        """
        table = self._tables.pop(shard, None)
        if table is None and self.remote is not None:
            table = self.remote.index(shard)
        elif table is None:
            path = self.paths[shard]
            table = load_index(index_path(path, self.cache_dir))
            check_size(path, int(table[-1]["header"]))
            if (len(table) - 1, table[-1]["header"]) != (self.counts[shard], self.bytes[shard]):
                raise changed(path, "its index and the set's index.json differ")
            check_rows(str(path), table)
            check_headers(path, table[:-1])
        while len(self._tables) >= self.max_mapped:
            self._tables.popitem(last=False)
        self._tables[shard] = table
        return table[:-1]

    def where(self, shard: int) -> str:
        """A shard's path or URL, for people to read."""
        return str(self.paths[shard]) if self.remote is None else self.remote.where(shard)

    def fingerprint(self) -> str:
        """Hash of names, counts, sizes and sets in order: the same for a copy elsewhere."""
        digest = hashlib.sha256()
        for path, count, size in zip(self.paths, self.counts, self.bytes, strict=True):
            digest.update(os.fsencode(path.name) + f"\0{count}\0{size}\n".encode())
        digest.update(b"".join(b"%d\n" % size for size in self.set_sizes))
        return digest.hexdigest()

    def describe(self) -> dict[str, int | str]:
        """What a run records of its shards, ready for JSON."""
        return {
            "num_shards": len(self.paths),
            "num_samples": self.num_samples,
            "num_bytes": int(self.bytes.sum()),
            "fingerprint": self.fingerprint(),
        }

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled as its content, for every worker.
        return {**self.__dict__, "_tables": OrderedDict()}


def open_shards(pattern: str, cache_dir: Path | None, cache_gb: float | None) -> ShardSet:
    """Open a set; remote shards go into a cache of at most so many gigabytes (`ShardCache.open`).

    Raises:
        ShardError: As `ShardSet.open`, or if the cache cannot be written to.
    """
    if not is_remote(pattern):
        return ShardSet.open(pattern, cache_dir=cache_dir)
    from ssl_swin.data.remote.cache import ShardCache  # and with it fsspec

    cache = ShardCache.open(cache_dir, cache_gb)
    return ShardSet.open(pattern, cache_dir=cache_dir, cache=cache)


def _join_remote(sets: Sequence[ShardSet]) -> "RemoteShards | None":
    remote = [one.remote for one in sets if one.remote is not None]
    if not remote:
        return None
    if len(remote) < len(sets):
        raise ShardError(
            "some of the sets are remote and some are local; bring all of them to one side"
        )
    return type(remote[0])(
        tuple(url for one in remote for url in one.urls),
        tuple(path for one in remote for path in one.paths),
        tuple(entry for one in remote for entry in one.entries),
        remote[0].cache,
    )


def _columns(entries: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and bytes of shards."""
    counts = np.array([entry.num_samples for entry in entries], dtype=np.int64)
    return counts, np.array([entry.num_bytes for entry in entries], dtype=np.int64)


class ShardReader:
    """Reads samples by offset, with few files open; may be pickled, and used after a fork.

    Args:
        shards: The set.
        max_open: Local files kept open at once. A remote shard is held only while it is read, so
            that the cache may evict it afterwards.
        whole: Fetch remote shards whole into the cache; without, only the bytes that are asked for.
    """

    def __init__(self, shards: ShardSet, max_open: int = 64, whole: bool = True) -> None:
        self.shards, self.whole = shards, whole
        self._local = LocalFiles(max_open)

    def read(self, shard: int, row: int) -> bytes:
        """The image member's bytes.

        Args:
            shard: Place of the shard in the set.
            row: Place of the sample in the shard.

        Raises:
            ShardError: If the tar changed since it was indexed, or a remote one cannot be had.
            OSError: If the storage fails again and again.
        """
        entry = self.shards.rows(shard)[row]
        return self._pread(shard, int(entry["offset"]), int(entry["size"]))

    def label(self, shard: int, row: int, field: str | None = None) -> int:
        """The class of one sample, from its `.cls` member or a field of its `.json`.

        Args:
            shard: Place of the shard in the set.
            row: Place of the sample in the shard.
            field: Field of the `.json` that holds the class; None means `label`.

        Raises:
            ShardError: If the sample has no label, or it is not a whole number of 0 or more.
            OSError: If the storage fails again and again.
        """
        entry = self.shards.rows(shard)[row]
        kind = int(entry["label_kind"])
        if kind == NO_LABEL:
            raise self._bad_label(shard, row, "it has neither a .cls nor a .json member")
        text = self._pread(shard, int(entry["label_offset"]), int(entry["label_size"]))
        try:
            value = int(text) if kind == CLS_LABEL else json.loads(text)[field or "label"]
        except (ValueError, KeyError, TypeError) as error:
            what = ".cls" if kind == CLS_LABEL else f"field {field or 'label'!r} of its .json"
            raise self._bad_label(shard, row, f"{what}: {error!r}") from error
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._bad_label(shard, row, f"the class is {value!r}")
        return value

    def key(self, shard: int, row: int) -> str:
        """WebDataset's key of one sample, as its member's header names it.

        Args:
            shard: Place of the shard in the set.
            row: Place of the sample in the shard.

        Raises:
            ShardError: If the tar changed since it was indexed.
        """
        entry = self.shards.rows(shard)[row]
        header = int(entry["header"])
        head = self._pread(shard, header, int(entry["offset"]) - header)
        try:
            with open_headers(io.BytesIO(head)) as tar:
                member = tar.next()
        except DAMAGED as error:
            raise changed(self.shards.where(shard), f"no header at {header}") from error
        if member is None:
            raise changed(self.shards.where(shard), f"no header at {header}")
        return sample_key(member.name)[0]

    def close(self) -> None:
        """Close every file; the reader opens them again when it is used again."""
        self._local.close()

    def _pread(self, shard: int, offset: int, size: int) -> bytes:
        remote = self.shards.remote
        if remote is not None and not self.whole:
            return remote.read_range(shard, offset, size)
        if remote is None:
            found = self._local.read(self.shards.paths[shard], offset, size)
        else:
            file = remote.open(shard, self.shards.rows(shard))
            assert file is not None  # it was waited for
            try:
                found = read_at(file, offset, size)
            finally:
                remote.release(file)
        if len(found) < size:
            raise changed(self.shards.where(shard), f"it ends at {offset + len(found)}")
        return found

    def _bad_label(self, shard: int, row: int, why: str) -> ShardError:
        return ShardError(
            f"sample {self.key(shard, row)!r} of {self.shards.where(shard)} has no usable label: "
            f"{why}; a label is a whole number of 0 or more in .cls, or in a field of .json"
        )
