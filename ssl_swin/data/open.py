"""A pattern -> a shard set. Only this file knows that some patterns name shards far away."""

from collections.abc import Sequence
from pathlib import Path

from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.shards.layout import is_remote
from ssl_swin.data.shards.shard_set import ShardSet


def open_shards(
    pattern: str,
    cache_dir: Path | None = None,
    cache_gb: float | None = None,
    index_missing: bool = True,
    num_workers: int = 8,
) -> ShardSet:
    """Stand-in for the storage room's."""
    cache = ShardCache.open(cache_dir, cache_gb) if is_remote(pattern) else None
    return ShardSet.open(pattern, index_missing, cache_dir, num_workers, cache)


def join(sets: Sequence[ShardSet]) -> ShardSet:
    """Stand-in for the storage room's."""
    return ShardSet.join(sets)
