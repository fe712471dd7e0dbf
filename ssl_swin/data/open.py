"""A pattern -> a shard set. Only this file knows that some patterns name shards far away."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ssl_swin.data.shards.given import join_given
from ssl_swin.data.shards.indexing import IndexedShard
from ssl_swin.data.shards.left_out import SECOND, LeftOut, add_up
from ssl_swin.data.shards.listing import find_local_tars
from ssl_swin.data.shards.local import open_local
from ssl_swin.data.shards.making import make_again
from ssl_swin.data.shards.names import is_remote
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, usable
from ssl_swin.phases import Phase


def open_shards(
    pattern: str | PathLike[str],
    cache_dir: Path | None = None,
    cache_gb: float | None = None,
    index_missing: bool = True,
    num_workers: int = 8,
) -> ShardSet:
    """Find the shards of a pattern and what is known of each.

    Args:
        pattern: A folder, a tar, `train-{000000..000009}.tar`, or a glob; or a URL of these.
        cache_dir: Root of the cache for remote shards, and for indexes that cannot lie beside their
            tars; None means `~/.cache/ssl_swin`.
        cache_gb: Most gigabytes (1e9 bytes) of remote shards; None means 80 % of what is free.
        index_missing: Whether tars without an index are indexed, by `num_workers` threads.
        num_workers: At least 1.

    Raises:
        ShardError: If nothing matches, a named shard is missing, an index is missing and may not be
            made, a tar changed since it was indexed, more images are in no sample than there are
            samples, or the cache cannot be written to.
    """
    pattern = os.fspath(pattern)
    with Phase("opening shards"):
        if not is_remote(pattern):
            with usable(f"shards={pattern}", ShardError):
                shards = ShardSet(open_local(pattern, cache_dir, index_missing, num_workers))
        else:
            shards = _open_remote(pattern, cache_dir, cache_gb, index_missing, num_workers)
    require_keys(shards.num_samples, shards.left_out, pattern)
    return shards


def _open_remote(
    pattern: str,
    cache_dir: Path | None,
    cache_gb: float | None,
    index_missing: bool,
    num_workers: int,
) -> ShardSet:
    # Imported late, for speed: fsspec takes longer than all that a local set needs.
    from ssl_swin.data.remote.cache import ShardCache
    from ssl_swin.data.remote.indexes import find_tars
    from ssl_swin.data.remote.remote_shards import RemoteShards

    cache = ShardCache.open(cache_dir, cache_gb)
    return ShardSet(RemoteShards(*find_tars(pattern, cache, index_missing, num_workers), cache))


def join(sets: Sequence[ShardSet]) -> ShardSet:
    """Lay sets end to end; ShardError if they share a tar, or some are remote and some are not."""
    if len(sets) == 1:
        return sets[0]
    paths = tuple(path for one in sets for path in one.storage.paths)
    if len(set(paths)) < len(paths):
        twice = next(path for place, path in enumerate(paths) if path in paths[:place])
        raise ShardError(f"{twice} is in two of the sets; leave it in one, with more weight")
    first, *others = (one.storage for one in sets)
    if any(type(other) is not type(first) for other in others):
        how = "some of the sets are remote and some are local; bring all of them to one side"
        raise ShardError(how)
    sizes, given = tuple(len(one.storage.paths) for one in sets), [one.given for one in sets]
    return ShardSet(first.join(others), sizes, join_given(given))


def require_keys(num_samples: int, left_out: LeftOut, where: str) -> None:
    """Refuse a set whose names hold dots that were not meant to end a key.

    Raises:
        ShardError: If more images are further ones of a key than there are samples.
    """
    num, example = left_out.get(SECOND, (0, ""))
    if num > num_samples:
        raise ShardError(
            f"{where}: {num} images are in none of the {num_samples} samples, {example!r} is one: "
            "a key ends at the first dot of a name and has one image; rename them (cat.0.jpg to "
            "cat_0.jpg) and pack them again, or let ssl-swin shards create do both"
        )


def index_anew(
    pattern: str, num_workers: int, cache_dir: Path | None
) -> tuple[list[IndexedShard], LeftOut]:
    """Write the index of every tar of a pattern; say what was found, in the pattern's order.

    Returns what is in each tar, and what all of them and the pattern leave out.

    Raises:
        UserError: If `num_workers` is below 1.
        ShardError: If nothing matches, or a tar is cut off, compressed or otherwise damaged.
    """
    left_out: LeftOut = {}
    if not is_remote(pattern):
        with usable(f"shards={pattern}", ShardError):
            paths, left_out = find_local_tars(pattern)
            found = make_again(paths, num_workers, cache_dir)
    else:
        from ssl_swin.data.remote.indexes import index_remote  # late, for speed, as above

        found = index_remote(pattern, num_workers, cache_dir)
    return found, add_up([left_out, *(shard.left_out for shard in found)])
