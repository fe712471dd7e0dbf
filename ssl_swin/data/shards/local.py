"""Tars of this machine or of a network file system; a read that fails is tried again."""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ssl_swin.data.shards.index_file import (
    Indexes,
    check_rows,
    entry_of,
    index_beside,
    index_path,
    load_index,
    read_entry,
)
from ssl_swin.data.shards.label_file import LABEL_LOCK, labels_beside, parse_labels, write_labels
from ssl_swin.data.shards.left_out import LeftOut, add_up
from ssl_swin.data.shards.listing import find_local_tars
from ssl_swin.data.shards.making import make_indexes, without_index
from ssl_swin.data.shards.manifest import Entry, known_entries
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.storage import NeededAt, Prefetch, Storage
from ssl_swin.data.shards.tar import changed, check_headers, check_size
from ssl_swin.data.shards.user_cache import cache_folder, may
from ssl_swin.errors import ShardError
from ssl_swin.machine import allow_open

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
PATIENCE = Retry(num_tries=5, first_wait_s=0.5, longest_wait_s=4.0)
_MAX_OPEN = 64  # files, unless a run needs more of them in turns
_CHECKED_AT_OPEN = 1000  # shards whose present size is looked up when a set opens


class LocalFiles:
    """Files that are read by offset, at most `max_open` of them open; pickled or forked at will."""

    def __init__(self, max_open: int = _MAX_OPEN, retry: Retry = PATIENCE) -> None:
        self.max_open, self.retry = max_open, retry
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._pid = os.getpid()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Read bytes, fewer only where the file ends; OSError if the storage fails for good."""

        def ask() -> bytes:
            try:
                return read_at(self._open(path), offset, size)
            except OSError as error:
                error.filename = str(path)
                if path in self._files:  # the next try opens it anew
                    os.close(self._files.pop(path))
                raise

        return self.retry.run(ask, OSError, lambda error: error.errno in _PASSING)

    def close(self) -> None:
        """Close every file; they are opened again when they are read again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _open(self, path: Path) -> int:
        if self._pid != os.getpid():
            self.close()  # this process's copies; the parent's stay open
            self._pid = os.getpid()
        file = self._files.pop(path, None)
        if file is None:
            while len(self._files) >= self.max_open:
                os.close(self._files.popitem(last=False)[1])
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._files[path] = file
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_pid": -1}

    def __del__(self) -> None:
        if getattr(self, "_files", None):
            self.close()


def read_at(file: int, offset: int, size: int) -> bytes:
    """Read bytes of an open file; fewer only where it ends."""
    parts: list[bytes] = []
    while size and (part := os.pread(file, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class NoPrefetch(Prefetch):
    """Brings nothing: the tars are here already."""

    def reached(self, step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, eq=False)
class LocalShards(Storage):
    """Tars that this machine reads by their path."""

    num_cheap_reads: ClassVar[int] = 100_000
    request_bytes: ClassVar[None] = None

    paths: tuple[Path, ...]
    entries: tuple[Entry, ...]
    cache_dir: Path | None = None
    """Root of the cache of indexes for folders that cannot be written to."""
    left_out: LeftOut = field(default_factory=dict, repr=False)
    files: LocalFiles = field(default_factory=LocalFiles, repr=False)
    indexes: Indexes = field(default_factory=Indexes, repr=False)
    _checked: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    """A hash of each shard's tar and index, once this process has found that they fit."""

    def rows(self, shard: int) -> np.ndarray:
        """Return the index of a shard, mapped into memory, `SAMPLE_DTYPE` (count,)."""
        return self.indexes.rows(shard, self._load)

    def _load(self, shard: int) -> np.ndarray:
        path, entry = self.paths[shard], self.entries[shard]
        table = load_index(index_path(path, self.cache_dir))  # (count + 1,)
        tar = check_size(path, entry_of(table).num_bytes)
        if entry_of(table)[:2] != entry[:2]:
            raise changed(path, "its index and the set's index.json differ")
        found = hash((tar.st_ino, tar.st_mtime_ns, table[-1].tobytes()))
        if self._checked.get(shard) != found:
            check_rows(str(path), table)
            check_headers(path, table[:-1])
            self._checked[shard] = found
        return table

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar; fewer only where it ends."""
        return self.files.read(self.paths[shard], offset, size)

    def read_piece(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar; fewer only where it ends."""
        return self.read(shard, offset, size)

    def read_pieces(self, shard: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read many pieces of a tar, which is opened for this call alone."""
        files = LocalFiles(1, self.files.retry)
        try:
            return [files.read(self.paths[shard], *place) for place in places]
        finally:
            files.close()

    def kept_labels(self, shard: int, field: str) -> np.ndarray | None:
        """Return the classes in the label file beside the tar, or in the cache."""
        for place in self._label_places(shard):
            with suppress(OSError):
                labels = parse_labels(place.read_bytes(), self.rows(shard), field)
                if labels is not None:
                    return labels
        return None

    def keep_labels(self, shard: int, field: str, labels: np.ndarray) -> None:
        """Write the label file beside the tar, or in the cache where that place is read-only."""
        for place in self._label_places(shard):
            with suppress(OSError):
                write_labels(place, self.rows(shard), field, labels)
                return

    def label_lock(self, shard: int) -> Path:
        """Return a file beside the label file, wherever that can be written."""
        folders = [place.parent for place in self._label_places(shard)]
        return next((one for one in folders if may(one, os.W_OK)), folders[-1]) / LABEL_LOCK

    def _label_places(self, shard: int) -> list[Path]:
        path = self.paths[shard]
        folders = path.parent, cache_folder(path.parent, self.cache_dir)
        return [labels_beside(index_beside(one / path.name)) for one in folders if one is not None]

    def read_beside(self, name: str) -> dict[str, bytes]:
        """Return the files of a name in the folders of the tars, by their paths."""
        found = {}
        for folder in dict.fromkeys(os.path.split(path)[0] for path in self.paths):
            with suppress(FileNotFoundError):
                found[os.path.join(folder, name)] = Path(folder, name).read_bytes()
        return found

    def where(self, shard: int) -> str:
        """Return the path of a shard."""
        return str(self.paths[shard])

    def keep_open(self, num_shards: int) -> int:
        """Keep so many tars open and indexes mapped, or as many as may be, and return how many."""
        num = allow_open(2 * max(num_shards, _MAX_OPEN)) // 2
        self.files.max_open, self.indexes.max_mapped = num, num
        return num

    def close(self) -> None:
        """Close every tar; they are opened again when they are read again."""
        self.files.close()

    def join(self, others: Sequence[Self]) -> Self:
        """Return these tars and, after them, those of others."""
        paths = sum((one.paths for one in others), self.paths)
        entries = sum((one.entries for one in others), self.entries)
        left_out = add_up([self.left_out, *(one.left_out for one in others)])
        return type(self)(paths, entries, self.cache_dir, left_out)

    def impatient(self) -> "LocalShards":
        """Return the same tars, opened anew."""
        return LocalShards(self.paths, self.entries, self.cache_dir, self.left_out)

    def bring(self, num_samples: int) -> int:
        """Return the number of shards: all are here."""
        return len(self.entries)

    def fetch_ahead(self, needed_at: NeededAt) -> NoPrefetch:
        """Return what does nothing: all are here."""
        return NoPrefetch()

    def cached_bytes(self, least_bytes: Callable[[], int]) -> int:
        """Return 0: they need no cache."""
        return 0

    def cache_line(self, least_bytes: int) -> None:
        """Say nothing: they need no cache."""


def open_local(
    pattern: str, cache_dir: Path | None, index_missing: bool, num_workers: int
) -> LocalShards:
    """Find the tars of a local pattern and what is known of each; see `open_shards`."""
    paths, left_out = find_local_tars(pattern)
    known = known_entries(paths, cache_dir)
    unknown = [path for path in paths if path not in known]
    missing = without_index(unknown, cache_dir)
    if missing and not index_missing:
        raise ShardError(
            f"{len(missing)} of {len(paths)} shards have no index, the first is {missing[0]}; "
            f"run: ssl-swin shards index {pattern}"
        )
    if missing:
        make_indexes(paths[0].parent, missing, cache_dir, num_workers)
        known |= known_entries(unknown, cache_dir)
        unknown = [path for path in unknown if path not in known]
    known |= {path: read_entry(index_path(path, cache_dir)) for path in unknown}
    for path in paths[:_CHECKED_AT_OPEN]:
        check_size(path, known[path].num_bytes)
    return LocalShards(paths, tuple(known[path] for path in paths), cache_dir, left_out)
