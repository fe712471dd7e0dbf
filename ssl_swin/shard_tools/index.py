"""The command that indexes anybody's tars."""

from pathlib import Path

from ssl_swin.data.open import index_anew, require_keys
from ssl_swin.data.shards.left_out import describe


def index(shards: str, num_workers: int = 8, cache_dir: str | None = None) -> None:
    """Write the index of every shard, and their folder's index.json, anew.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL of
            these, whose headers are then read from afar.
        num_workers: Threads, each with one tar at a time; at least 1.
        cache_dir: Where indexes go that cannot lie beside their tars; left out, the user's cache.

    Raises:
        UserError: If `num_workers` is below 1.
        ShardError: If nothing matches, a tar is cut off, compressed or otherwise damaged, or more
            images are in no sample than there are samples.
    """
    found, left_out = index_anew(
        shards, num_workers, None if cache_dir is None else Path(cache_dir)
    )
    num_samples = sum(shard.num_samples for shard in found)
    print(f"{num_samples} samples in {len(found)} shards")
    for line in describe(left_out, shards):
        print(line)
    require_keys(num_samples, left_out, shards)
