"""Remote shards: tars that URLs name, read from the cache of this machine into which they come."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ssl_swin.data.remote.ahead import FetchAhead
from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.files import REQUEST_BYTES, open_ranged, read_small
from ssl_swin.data.remote.incoming import RemoteTar
from ssl_swin.data.remote.indexes import fetch_index
from ssl_swin.data.remote.room import release
from ssl_swin.data.remote.urls import beside, shown
from ssl_swin.data.shards.index_file import Indexes, check_rows, entry_of, index_beside, load_index
from ssl_swin.data.shards.label_file import LABEL_LOCK, labels_beside, parse_labels, write_labels
from ssl_swin.data.shards.left_out import LeftOut
from ssl_swin.data.shards.local import read_at
from ssl_swin.data.shards.manifest import Entry
from ssl_swin.data.shards.one_maker import one_maker
from ssl_swin.data.shards.storage import NeededAt, Storage
from ssl_swin.data.shards.tar import changed, check_headers
from ssl_swin.errors import ShardError
from ssl_swin.files import sha256_of
from ssl_swin.machine import allow_open


@dataclass(frozen=True, eq=False)
class RemoteShards(Storage):
    """Tars that URLs name, read from a cache of this machine into which they are fetched."""

    num_cheap_reads: ClassVar[int] = 0  # each is a request
    request_bytes: ClassVar[int] = REQUEST_BYTES

    urls: tuple[str, ...]
    paths: tuple[Path, ...]
    entries: tuple[Entry, ...]
    cache: ShardCache
    left_out: LeftOut = field(default_factory=dict, init=False, repr=False)
    indexes: Indexes = field(default_factory=Indexes, init=False, repr=False)
    _checked: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    """Inode of each shard's tar, once this process has found in it what the index says."""
    _rows_checked: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    """A hash of each shard's index, once this process has found it good."""

    def rows(self, shard: int) -> np.ndarray:
        """Return the index of a shard, mapped into memory, `SAMPLE_DTYPE` (count,)."""
        return self.indexes.rows(shard, self._load)

    def _load(self, shard: int) -> np.ndarray:
        path = index_beside(self.paths[shard])
        if not self._fits(path, shard):
            with one_maker(path.with_name(f".{path.name}.lock"), lambda: "fetching it"):
                self._fetch_index(shard, path)
        table = load_index(path)
        found = hash(table[-1].tobytes())
        if self._rows_checked.get(shard) != found:
            check_rows(self.where(shard), table)
            self._rows_checked[shard] = found
        return table

    def _fetch_index(self, shard: int, path: Path) -> None:
        if self._fits(path, shard):
            return  # another process has fetched it
        url = self.urls[shard]
        if not fetch_index(url, path, self.cache):
            remedy = f"run: ssl-swin shards index {shown(url)}"
            raise ShardError(f"{shown(url)} has no index; {remedy}")
        if not self._fits(path, shard):
            raise changed(self.where(shard), "its index and the set's index.json differ")

    def _fits(self, path: Path, shard: int) -> bool:
        try:
            return entry_of(load_index(path))[:2] == self.entries[shard][:2]
        except ShardError:  # there is none, or it is damaged
            return False

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar, fetched whole and held for this read only."""
        file = self.hold(shard)
        assert file is not None  # it was waited for
        try:
            return read_at(file, offset, size)
        finally:
            release(file)

    def read_piece(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar without fetching the rest; fewer only where it ends."""
        file, _ = open_ranged(self.urls[shard], self.cache.retry)
        with file:
            file.seek(offset)
            return file.read(size)

    def read_pieces(self, shard: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read many pieces of a tar; those that are near each other come in one request."""
        file, _ = open_ranged(self.urls[shard], self.cache.retry)
        with file:
            return [file.read(size) for offset, size in places if file.seek(offset) >= 0]

    def kept_labels(self, shard: int, field: str) -> np.ndarray | None:
        """Return the classes in the label file in the cache, or beside the remote tar."""
        place, rows = labels_beside(index_beside(self.paths[shard])), self.rows(shard)
        with suppress(FileNotFoundError):
            labels = parse_labels(place.read_bytes(), rows, field)
            if labels is not None:
                return labels
        content = read_small(beside(self.urls[shard], place.name), self.cache.retry)
        labels = None if content is None else parse_labels(content, rows, field)
        if labels is not None:
            self.keep_labels(shard, field, labels)
        return labels

    def keep_labels(self, shard: int, field: str, labels: np.ndarray) -> None:
        """Write the label file beside the index in the cache."""
        place = labels_beside(index_beside(self.paths[shard]))
        self.cache.room.with_room(partial(write_labels, place, self.rows(shard), field, labels))

    def read_beside(self, name: str) -> dict[str, bytes]:
        """Return the files of a name in the folders of the tars, by their URLs."""
        folders = {path.parent: url for path, url in zip(self.paths, self.urls, strict=True)}
        urls = [beside(url, name) for url in folders.values()]
        found = {shown(url): read_small(url, self.cache.retry) for url in urls}
        return {url: content for url, content in found.items() if content is not None}

    def label_lock(self, shard: int) -> Path:
        """Return a file in the tar's folder of the cache."""
        return self.paths[shard].with_name(LABEL_LOCK)

    def where(self, shard: int) -> str:
        """Return the URL of a shard, as it may be printed."""
        return shown(self.urls[shard])

    def keep_open(self, num_shards: int) -> int:
        """Keep so many indexes mapped, or as many as may be; return how many. No tar stays."""
        self.indexes.max_mapped = max(allow_open(num_shards), 1)
        return self.indexes.max_mapped

    def close(self) -> None:
        """Do nothing: no tar stays open."""

    def join(self, others: Sequence[Self]) -> Self:
        """Return these tars and, after them, those of others, all in this cache."""
        urls = sum((one.urls for one in others), self.urls)
        paths = sum((one.paths for one in others), self.paths)
        entries = sum((one.entries for one in others), self.entries)
        return type(self)(urls, paths, entries, self.cache)

    def impatient(self) -> "RemoteShards":
        """Return the same tars, asked for twice at most."""
        retry = replace(self.cache.retry, num_tries=min(2, self.cache.retry.num_tries))
        return replace(self, cache=replace(self.cache, retry=retry))

    def bring(self, num_samples: int) -> int:
        """Fetch shards, from the first on, until they hold so many samples."""
        num = found = 0
        while num < len(self.entries) and found < num_samples:
            self.read(num, 0, 0)  # no byte, but the tar comes
            found += self.entries[num].num_samples
            num += 1
        return num

    def fetch_ahead(self, needed_at: NeededAt) -> FetchAhead:
        """Return what fetches shards ahead of need."""
        return FetchAhead(partial(self.hold, wait=False), needed_at)

    def cached_bytes(self, least_bytes: Callable[[], int]) -> int:
        """Return `least_bytes()`: all of it goes through the cache."""
        return least_bytes()

    def cache_line(self, least_bytes: int) -> str:
        """Say in one line how much cache a run needs and has."""
        return self.cache.line(least_bytes)

    def hold(self, shard: int, wait: bool = True) -> int | None:
        """Open a tar as `ShardCache.get` does, and see that it is what its index says."""
        path, rows = self.paths[shard], self.rows(shard)
        check = partial(self._check, shard, rows)
        tar = RemoteTar(self.urls[shard], path, self.entries[shard].num_bytes, check)
        while (file := self.cache.get(tar, wait)) is not None:
            found = os.fstat(file).st_ino
            if self._checked.get(shard) != found:
                try:  # a tar that an earlier run has left may be of an older index
                    check_headers(path, rows, self.where(shard))
                except ShardError:
                    path.unlink(missing_ok=True)
                    release(file)
                    continue  # one that is fetched now is checked before it gets its name
                self._checked[shard] = found
            return file
        return None

    def _check(self, shard: int, rows: np.ndarray, path: Path) -> None:
        expected = self.entries[shard].sha256
        if expected is not None and (found := sha256_of(path)) != expected:
            raise changed(self.where(shard), f"sha256 {expected[:12]} then, {found[:12]} now")
        check_headers(path, rows, self.where(shard))
