"""Indexes of remote tars: found where the tars lie, or made from their headers, read from afar.

A tar has its place in the cache of this machine, whether it is there or not. Its index lies beside
that place.
"""

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.files import expand_urls, open_ranged, read_small
from ssl_swin.data.remote.urls import beside, name_of, shown
from ssl_swin.data.shards.index_file import index_beside, read_entry
from ssl_swin.data.shards.indexing import IndexedShard, index_opened, index_shards
from ssl_swin.data.shards.making import making
from ssl_swin.data.shards.manifest import MANIFEST_NAME, Entry, load_manifest, parse_manifest
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing


def find_tars(
    pattern: str, cache: ShardCache, index_missing: bool = True, num_workers: int = 8
) -> tuple[tuple[str, ...], tuple[Path, ...], tuple[Entry, ...]]:
    """Find the tars of a remote pattern; the parameters are those of `open_shards`.

    Returns:
        The URLs, the tars' places in the cache, and what is known of each.

    Raises:
        ShardError: If nothing matches, or an index is missing and may not be made.
    """
    began_at = time.time()
    urls = _places(pattern, cache)
    folders = {path.parent: url for path, url in urls.items()}
    known = _named(urls, {path: _manifest(url, cache.retry) for path, url in folders.items()})
    unknown = [path for path in urls if path not in known]
    if unknown:
        # The other processes that share the cache wait, and find it.
        with _making(unknown, cache):
            folders_here = {path.parent for path in unknown}
            known |= _named(unknown, {folder: load_manifest(folder) for folder in folders_here})
            unknown = [path for path in unknown if path not in known]
            old = {path: urls[path] for path in unknown if not _is_since(began_at, path)}
            missing = _fetch_indexes(old, num_workers, cache)
            if missing and not index_missing:
                raise ShardError(
                    f"{len(missing)} of {len(urls)} shards have no index, the first is "
                    f"{shown(next(iter(missing.values())))}; run: ssl-swin shards index "
                    f"{shown(pattern)}"
                )
            _index(missing, num_workers, cache)
            for path in unknown:
                where = f"{shown(urls[path])}.index.npy"
                known[path] = read_entry(index_beside(path), where)
    return tuple(urls.values()), tuple(urls), tuple(known[path] for path in urls)


def index_remote(pattern: str, num_workers: int, cache_dir: Path | None) -> list[IndexedShard]:
    """Index remote tars anew, by reading their headers from afar; the indexes go into the cache."""
    cache = ShardCache.open(cache_dir)
    urls = _places(pattern, cache)
    with _making(list(urls), cache):
        return _index(urls, num_workers, cache)


def fetch_index(url: str, path: Path, cache: ShardCache) -> bool:
    """Fetch the index file beside a remote tar to `path`; false if there is none.

    Raises:
        RemoteError: If it is there and does not come.
        DiskFull: If there is no room for it.
    """
    content = read_small(beside(url, path.name), cache.retry)
    if content is None:
        return False

    def write() -> None:
        with replacing(path) as file:
            file.write(content)

    if not path.is_file() or path.read_bytes() != content:  # others may have mapped it
        cache.room.with_room(write)
    return True


def _making(tars: list[Path], cache: ShardCache) -> AbstractContextManager[bool]:
    folder = tars[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    return making(folder, tars, cache.room.root.parent)


def _is_since(began_at: float, tar: Path) -> bool:
    """Whether another process has written the index of a tar since then."""
    try:
        return index_beside(tar).stat().st_mtime >= began_at
    except FileNotFoundError:
        return False


def _places(pattern: str, cache: ShardCache) -> dict[Path, str]:
    """Return the URL of each tar under its place in the cache.

    Raises:
        ShardError: If two URLs have one place; only the user can say which file is meant.
    """
    places: dict[Path, str] = {}
    for number, url in enumerate(expand_urls(pattern, cache.retry), 1):
        folder = shown(url).rpartition("/")[0]  # the same for every signature
        folder = hashlib.sha256(folder.encode()).hexdigest()[:32]
        path = cache.room.root / folder / name_of(url)
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
    url = beside(url, MANIFEST_NAME)
    content = read_small(url, retry)
    return {} if content is None else parse_manifest(content, shown(url))


def _named(paths: Iterable[Path], manifests: dict[Path, dict[str, Entry]]) -> dict[Path, Entry]:
    """Return what the manifests of the paths' folders say of them."""
    pairs = ((path, manifests[path.parent].get(path.name)) for path in paths)
    return {path: entry for path, entry in pairs if entry is not None}


def _fetch_indexes(urls: dict[Path, str], num_workers: int, cache: ShardCache) -> dict[Path, str]:
    """Fetch the index files of tars; return the tars that have none."""
    with ThreadPoolExecutor(num_workers) as pool:
        fetch = partial(fetch_index, cache=cache)
        found = pool.map(fetch, urls.values(), map(index_beside, urls))
        return {path: urls[path] for path, there in zip(urls, found, strict=True) if not there}


def _index(urls: dict[Path, str], num_workers: int, cache: ShardCache) -> list[IndexedShard]:
    def index_one(path: Path) -> IndexedShard:
        file, num_bytes = open_ranged(urls[path], cache.retry)
        with file:
            return index_opened(file, shown(urls[path]), num_bytes, index_beside(path))

    in_room = cache.room.with_room
    return index_shards(urls, num_workers, index_one=lambda path: in_room(partial(index_one, path)))
