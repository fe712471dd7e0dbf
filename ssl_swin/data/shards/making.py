"""Indexes that are missing, made by one process of all that need them at once."""

import os
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ssl_swin.data.shards.index_file import index_beside, index_path
from ssl_swin.data.shards.indexing import IndexedShard, index_shard, index_shards
from ssl_swin.data.shards.label_file import labels_beside
from ssl_swin.data.shards.one_maker import one_maker, place_first
from ssl_swin.data.shards.user_cache import cached_name, keeps_others, make_cache, may

INDEX_LOCK = ".index.lock"
_PARTS = 64  # after which a process that is not alone looks again at what others have made


def without_index(paths: Sequence[Path], cache_dir: Path | None) -> list[Path]:
    """Return the tars that have no index to read, neither beside them nor in the cache."""
    return [path for path in paths if not may(index_path(path, cache_dir), os.R_OK)]


def make_indexes(
    folder: Path, missing: Sequence[Path], cache_dir: Path | None, num_workers: int
) -> None:
    """Index the tars that were found missing of a set that begins in a folder, or wait for them.

    An index that has come to be meanwhile is never replaced.

    Raises:
        ShardError: If a tar is damaged; the others are indexed.
    """
    with making(folder, missing, cache_dir) as alone:
        left = without_index(missing, cache_dir)
        index_one = partial(_index_one, cache_dir)
        if alone:
            index_shards(left, num_workers, cache_dir, index_one)
            return
        # In another order than the others, so that the work is shared.
        turn, size = secrets.randbelow(len(left) + 1), max(num_workers, len(left) // _PARTS)
        left = left[turn:] + left[:turn]
        for start in range(0, len(left), size):
            part = without_index(left[start : start + size], cache_dir)
            index_shards(part, num_workers, cache_dir, index_one)


def make_again(
    paths: Sequence[Path], num_workers: int, cache_dir: Path | None
) -> list[IndexedShard]:
    """Index the tars of a set; indexes that they have are replaced.

    Raises:
        UserError, ShardError: As `index_shards`.
    """

    def index_one(tar: Path) -> IndexedShard:
        return index_shard(tar, _place(tar, cache_dir))

    with making(paths[0].parent, paths, cache_dir):
        return index_shards(paths, num_workers, cache_dir, index_one)


def making(
    folder: Path, wanted: Sequence[Path], cache_dir: Path | None
) -> AbstractContextManager[bool]:
    """Keep others from making the indexes of a set that begins in a folder; see `one_maker`.

    The tars that are `wanted` are counted while another process makes them.
    """

    def progress() -> str:
        num = len(wanted) - len(without_index(wanted, cache_dir))
        return f"{num} of {len(wanted)} shards are indexed"

    return one_maker(_writable(folder, cache_dir) / INDEX_LOCK, progress)


def _index_one(cache_dir: Path | None, tar: Path) -> IndexedShard:
    """Index a tar, beside it or in the cache."""
    path = _place(tar, cache_dir)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    found = index_shard(tar, unfinished, labels_beside(path))
    place_first(unfinished, path)
    return replace(found, path=path)


def _place(tar: Path, cache_dir: Path | None) -> Path:
    """Return where the index of a tar is written."""
    name = index_beside(tar).name
    if keeps_others(tar.parent / name):
        what = f"the index of {tar}, where another user's lies,"
        return make_cache(what, cache_dir) / cached_name(tar.parent) / name
    return _writable(tar.parent, cache_dir) / name


def _writable(folder: Path, cache_dir: Path | None) -> Path:
    """Return the folder, or its place in the cache if it cannot be written to."""
    if may(folder, os.W_OK):
        return folder
    what = f"indexes of the tars in {folder}, which is read-only,"
    return make_cache(what, cache_dir) / cached_name(folder)
