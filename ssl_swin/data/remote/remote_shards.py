"""The remote side of a shard set: URLs, indexes, and the cache that its tars are read from.

A tar has its place in the cache, and its index lies beside that place: taken from the remote folder
if there is one, else made from the tar's headers, read from afar.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ssl_swin.data.remote.ahead import FetchAhead
from ssl_swin.data.remote.cache import RemoteShard, ShardCache, release
from ssl_swin.data.remote.files import expand_urls, open_ranged, read_small
from ssl_swin.data.remote.urls import beside, folder_of, name_of, shown
from ssl_swin.data.shards.index_file import MappedIndexes, check_rows, index_beside, load_index
from ssl_swin.data.shards.indexing import IndexedShard, index_opened, index_shards
from ssl_swin.data.shards.local import read_at
from ssl_swin.data.shards.manifest import MANIFEST_NAME, Entry, load_manifest, parse_manifest
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.storage import Storage
from ssl_swin.data.shards.tar import changed, check_headers, sha256_of
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing


@dataclass(frozen=True, eq=False)
class RemoteShards(Storage):
    """Tars that URLs name, read from a cache of this machine into which they are fetched."""

    num_cheap_reads: ClassVar[int] = 0  # each is a request

    urls: tuple[str, ...]
    paths: tuple[Path, ...]
    entries: tuple[Entry, ...]
    cache: ShardCache
    indexes: MappedIndexes = field(default_factory=MappedIndexes, init=False, repr=False)
    _checked: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    """Of each shard, the file in which this process found what its index says."""

    def rows(self, shard: int) -> np.ndarray:
        """Return the index of a shard, mapped into memory, `SAMPLE_DTYPE` (count,)."""
        return self.indexes.rows(shard, self._load)

    def _load(self, shard: int) -> np.ndarray:
        path, url = index_beside(self.paths[shard]), self.urls[shard]
        if not self._fits(path, shard):
            if not _fetch_index(url, path, self.cache):
                raise ShardError(
                    f"{shown(url)} has no index; run: ssl-swin shards index {shown(url)}"
                )
            if not self._fits(path, shard):
                raise changed(self.where(shard), "its index and the set's index.json differ")
        table = load_index(path)
        check_rows(self.where(shard), table)
        return table

    def _fits(self, path: Path, shard: int) -> bool:
        try:
            table = load_index(path)
        except ShardError:  # there is none, or it is damaged
            return False
        entry = self.entries[shard]
        return (len(table) - 1, table[-1]["header"]) == (entry.num_samples, entry.num_bytes)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a tar, fetched whole; fewer only where it ends.

        The tar is held for this read only, so that the cache may evict it afterwards.
        """
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

    def where(self, shard: int) -> str:
        """Return the URL of a shard, as it may be printed."""
        return shown(self.urls[shard])

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
        while num < len(self.entries) and found < max(num_samples, 1):
            file = self.hold(num)
            assert file is not None  # it was waited for
            release(file)
            found += self.entries[num].num_samples
            num += 1
        return num

    def fetch_ahead(self, needed_at: Callable[[int], tuple[list[int], int]]) -> FetchAhead:
        """Begin to fetch shards ahead of need."""
        return FetchAhead(partial(self.hold, wait=False), needed_at)

    def cached_bytes(self, least_bytes: Callable[[], int]) -> int:
        """Return what these shards take of the cache, which is all of it."""
        return least_bytes()

    def cache_line(self, least_bytes: int) -> str:
        """Say in one line how much cache a run needs and has."""
        return self.cache.line(least_bytes)

    def hold(self, shard: int, wait: bool = True) -> int | None:
        """Open a tar, fetching it if it is not in the cache, and keep it from being evicted.

        Args:
            shard: Its place in the set.
            wait: Wait for room, and for others that fetch the same shard.

        Returns:
            A file descriptor to be given to `release`; None if `wait` is off and the tar
            cannot be had now.

        Raises:
            ShardError: If the tar cannot be had, or is not what its index says.
        """
        path, rows = self.paths[shard], self.rows(shard)
        check = partial(self._check, shard, rows)
        wanted = RemoteShard(self.urls[shard], path, self.entries[shard].num_bytes, check)
        while (file := self.cache.get(wanted, wait)) is not None:
            found = os.fstat(file).st_ino
            if self._checked.get(shard) == found:
                return file
            try:  # a tar that an earlier run has left may be of an older index
                check_headers(path, rows, self.where(shard))
            except ShardError:
                self.cache.forget(path)
                release(file)
                continue  # one that is fetched now is checked before it gets its name
            self._checked[shard] = found
            return file
        return None

    def _check(self, shard: int, rows: np.ndarray, path: Path) -> None:
        expected = self.entries[shard].sha256
        if expected is not None:
            found = sha256_of(path)
            if found != expected:
                raise changed(self.where(shard), f"sha256 {expected[:12]} then, {found[:12]} now")
        check_headers(path, rows, self.where(shard))


def open_remote(
    pattern: str, cache: ShardCache, index_missing: bool = True, num_workers: int = 8
) -> RemoteShards:
    """Find the shards of a remote pattern and what is known of each.

    Args:
        pattern: URL of a folder or a tar, with braces or a glob.
        cache: Where tars and indexes go.
        index_missing: Index tars whose place has no index.
        num_workers: Threads that fetch indexes and make them.

    Raises:
        ShardError: If nothing matches, or an index is missing and may not be made.
    """
    urls = _places(pattern, cache)
    folders = {path.parent: url for path, url in urls.items()}
    known = _named(urls, {path: _manifest(url, cache.retry) for path, url in folders.items()})
    unknown = [path for path in urls if path not in known]
    if unknown:
        with _alone(unknown[0].parent):  # the other processes of this machine wait, and find it
            known |= _find_indexes(unknown, urls, pattern, index_missing, num_workers, cache)
    entries = tuple(known[path] for path in urls)
    return RemoteShards(tuple(urls.values()), tuple(urls), entries, cache)


def index_remote(pattern: str, num_workers: int, cache_dir: Path | None) -> list[IndexedShard]:
    """Index remote tars anew, by reading their headers from afar; the indexes go into the cache.

    Raises:
        ShardError: If nothing matches, or a tar is cut off, compressed or otherwise damaged.
    """
    cache = ShardCache.open(cache_dir)
    return _index(_places(pattern, cache), num_workers, cache)


def _places(pattern: str, cache: ShardCache) -> dict[Path, str]:
    """Return the URL of each shard under its place in the cache.

    Raises:
        ShardError: If two URLs have one place; only the user can say which file is meant.
    """
    places: dict[Path, str] = {}
    for number, url in enumerate(expand_urls(pattern, cache.retry), 1):
        folder = hashlib.sha256(folder_of(url).encode()).hexdigest()[:32]
        path = cache.root / folder / name_of(url)
        if path in places:
            raise ShardError(
                f"the shards {list(places).index(path) + 1} and {number} that {shown(pattern)} "
                f"names are both {shown(url)}, differing only in what is not part of a file's name "
                "(a query, a user); leave one out, or give each file a name of its own"
            )
        places[path] = url
    return places


def _manifest(url: str, retry: Retry) -> dict[str, Entry]:
    """Read the manifest beside a remote tar; empty if there is none."""
    content = read_small(beside(url, MANIFEST_NAME), retry)
    where = shown(beside(url, MANIFEST_NAME))
    return {} if content is None else parse_manifest(content, where)


def _named(paths: Iterable[Path], manifests: dict[Path, dict[str, Entry]]) -> dict[Path, Entry]:
    """Return what the manifests of the paths' folders say of them."""
    pairs = ((path, manifests[path.parent].get(path.name)) for path in paths)
    return {path: entry for path, entry in pairs if entry is not None}


def _find_indexes(
    unknown: list[Path],
    urls: dict[Path, str],
    pattern: str,
    index_missing: bool,
    num_workers: int,
    cache: ShardCache,
) -> dict[Path, Entry]:
    """Learn of shards that no remote manifest names: index files there, or made here."""
    made_before = {folder: load_manifest(folder) for folder in {path.parent for path in unknown}}
    known = _named(unknown, made_before)
    unknown = [path for path in unknown if path not in known]

    def fetch(path: Path) -> bool:
        return _fetch_index(urls[path], index_beside(path), cache)

    with ThreadPoolExecutor(num_workers) as pool:
        found = dict(zip(unknown, pool.map(fetch, unknown), strict=True))
    missing = [path for path in unknown if not found[path]]
    if missing and not index_missing:
        raise ShardError(
            f"{len(missing)} of {len(urls)} shards have no index, the first is "
            f"{shown(urls[missing[0]])}; run: ssl-swin shards index {shown(pattern)}"
        )
    _index({path: urls[path] for path in missing}, num_workers, cache)
    for path in unknown:
        table = load_index(index_beside(path), f"{shown(urls[path])}.index.npy")
        known[path] = Entry(len(table) - 1, int(table[-1]["header"]))
    return known


def _index(urls: dict[Path, str], num_workers: int, cache: ShardCache) -> list[IndexedShard]:
    def index_one(path: Path) -> IndexedShard:
        file, num_bytes = open_ranged(urls[path], cache.retry)
        with file:
            return index_opened(file, shown(urls[path]), num_bytes, index_beside(path))

    def in_room(path: Path) -> IndexedShard:
        return cache.with_room(partial(index_one, path))

    return index_shards(urls, num_workers, index_one=in_room)


def _fetch_index(url: str, path: Path, cache: ShardCache) -> bool:
    """Fetch the index file beside a remote tar; false if there is none."""
    content = read_small(beside(url, index_beside(Path(name_of(url))).name), cache.retry)

    def write(content: bytes) -> None:
        with replacing(path) as file:
            file.write(content)

    if content is not None:
        cache.with_room(partial(write, content))
    return content is not None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the other processes of this machine from indexing the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / ".index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        release(file)
