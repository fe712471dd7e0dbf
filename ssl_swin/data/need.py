"""What a run needs of its shards: which at which step, how many at once, and how much cache."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ssl_swin.data.order.lanes import Order, Stretches, rank_lanes
from ssl_swin.data.shards.shard_set import ShardSet


def least_cache_bytes(shards: ShardSet, order: Order, devices: int, num_nodes: int) -> int:
    """Return how many bytes of shards the lanes of one machine may need at once, in any epoch.

    Each lane has two of its blocks in hand: a stretch of samples. A stretch touches a shard at
    either end; the shards between hold no more samples than the stretch. An order that uses only
    some of the samples may need any shard. Each of `num_nodes` machines runs `devices` processes.
    """
    if order.places is not None:
        return int(shards.bytes[np.unique(shards.locate(order.places)[0])].sum())
    world_size = devices * num_nodes
    lanes = [len(rank_lanes(order.num_lanes, rank, world_size)) for rank in range(world_size)]
    num_lanes = max(sum(lanes[first : first + devices]) for first in range(0, world_size, devices))
    return _largest(shards.counts, shards.bytes, order.stretches(num_lanes))


def _largest(counts: np.ndarray, sizes: np.ndarray, parts: list[Stretches]) -> int:
    return sum(largest_stretches(counts[one.shards], sizes[one.shards], one) for one in parts)


def largest_stretches(counts: np.ndarray, sizes: np.ndarray, stretches: Stretches) -> int:
    """Bound the sizes of the shards that stretches of samples touch, whatever the shards' order.

    The counts of samples and the sizes of the shards, such as bytes, are int64 (num_shards,).
    """
    num, window = stretches.num, stretches.num_samples
    counts, sizes = counts[counts > 0], sizes[counts > 0]  # (num_filled,)
    edges = np.sort(sizes)[::-1][: 2 * num].sum()
    inside = counts <= window - 2  # (num_filled,); an edge on either side has a sample at least
    by_density = np.argsort(-sizes[inside] / counts[inside], kind="stable")  # (num_inside,)
    counts_inside, sizes_inside = counts[inside][by_density], sizes[inside][by_density]
    taken = np.cumsum(counts_inside) <= num * max(window - 2, 0)  # (num_inside,)
    between = sizes_inside[taken].sum()
    if not taken.all():  # and the part of the next one that would fit
        first = int(np.argmin(taken))
        room = num * (window - 2) - counts_inside[:first].sum()
        between += -(-sizes_inside[first] * room // counts_inside[first])
    return int(min(edges + between, sizes.sum()))


def cache_line(
    train: ShardSet,
    least_bytes: Callable[[], int],
    heldout: ShardSet | None = None,
    num_readers: int = 0,
) -> str | None:
    """Say in one line how much cache a run needs and has; None if no shard is remote.

    Args:
        train: The training shards.
        least_bytes: What `least_cache_bytes` says of them; not called if they are local.
        heldout: The held-out shards, if there are any; each reader has one of them in hand.
        num_readers: Processes of this machine that read held-out images.

    Raises:
        ShardError: If the limit is smaller than what is needed.
    """
    needs = [(train, least_bytes)]
    if heldout is not None:
        needs.append((heldout, lambda: int(np.sort(heldout.bytes)[::-1][:num_readers].sum())))
    least = sum(shards.storage.cached_bytes(need) for shards, need in needs)
    lines = (shards.storage.cache_line(least) for shards, _ in needs)
    return next((line for line in lines if line is not None), None)


@dataclass(frozen=True)
class Needs:
    """Which shards one rank of `world_size` needs, and when, until the run ends at `stop_step`."""

    shards: ShardSet
    order: Order
    rank: int
    world_size: int
    stop_step: int

    def most_at_once(self) -> int:
        """Bound how many shards a step reads from, where no lane goes on to its next block in it.

        A process that keeps so many open opens each once for each block that lies in it.
        """
        counts = self.shards.counts
        if self.order.places is not None:
            return len(np.unique(self.shards.locate(self.order.places)[0]))
        num_lanes = len(rank_lanes(self.order.num_lanes, self.rank, self.world_size))
        return _largest(counts, np.ones_like(counts), self.order.in_hand(num_lanes))

    def at(self, step: int) -> tuple[list[int], int]:
        """Return the shards of a step's blocks and of the next, and the first step of the next.

        Beyond the end of the ring nothing is looked up: the shards there may be any, and need not
        fit into the least cache together with those in hand.
        """
        if self.order.places is not None:
            return np.unique(self.shards.locate(self.order.places)[0]).tolist(), self.stop_step
        after = self.order.next_block(step)
        found = self.order.shards_at(step, self.rank, self.world_size).tolist()
        if after < self.stop_step and not self.order.begins_ring(after):
            found += self.order.shards_at(after, self.rank, self.world_size).tolist()
        return list(dict.fromkeys(found)), after
