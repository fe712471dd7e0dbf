"""A pattern -> a shard set. Only this file knows that some patterns name shards far away."""

from collections.abc import Sequence
from pathlib import Path

from ssl_swin.data.shards.indexing import IndexedShard, index_shards
from ssl_swin.data.shards.local import open_local
from ssl_swin.data.shards.making import making
from ssl_swin.data.shards.names import expand, is_remote
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, usable


def open_shards(
    pattern: str,
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
            made, a tar changed since it was indexed, or the cache cannot be written to.
    """
    if not is_remote(pattern):
        with usable(f"shards={pattern}", ShardError):
            return ShardSet(open_local(pattern, cache_dir, index_missing, num_workers))
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
    return ShardSet(first.join(others), tuple(len(one.storage.paths) for one in sets))


def index_anew(pattern: str, num_workers: int, cache_dir: Path | None) -> list[IndexedShard]:
    """Write the index of every tar of a pattern; say what was found, in the pattern's order.

    Raises:
        UserError: If `num_workers` is below 1.
        ShardError: If nothing matches, or a tar is cut off, compressed or otherwise damaged.
    """
    if not is_remote(pattern):
        with usable(f"shards={pattern}", ShardError):
            paths = expand(pattern)
            with making(paths[0].parent, [], cache_dir):
                return index_shards(paths, num_workers, cache_dir)
    from ssl_swin.data.remote.indexes import index_remote  # late, for speed, as above

    return index_remote(pattern, num_workers, cache_dir)
