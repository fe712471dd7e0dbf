"""Remote shards ahead of need: how much cache the order takes, and who fetches what comes next.

A loader worker that finds its shard in the cache never waits. The fetcher runs in the training
process, as threads; it holds the shards of the blocks in progress, so that none of them is evicted.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ssl_swin.data.order.lanes import Order, Share, Stretches, rank_lanes
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError

_NUM_THREADS = 4
_ASK_AGAIN_S = 0.5  # for a shard that another process is fetching, or that there is no room for
_LEAVE_S = 1.0


def least_cache_bytes(shards: ShardSet, order: Order, devices: int, num_nodes: int) -> int:
    """Return how many bytes of shards the lanes of one machine may need at once.

    It is a bound for every epoch: each lane has two of its blocks in hand, a stretch of samples
    that touches two shards at its edges, and between them at most as many samples as it holds.

    Args:
        shards: The set.
        order: Its order; if it uses only some of the samples, they may be anywhere.
        devices: Processes of each machine.
        num_nodes: Machines.
    """
    if order.places is not None:
        return int(shards.bytes[np.unique(shards.locate(order.places)[0])].sum())
    world_size = devices * num_nodes
    lanes = [len(rank_lanes(order.num_lanes, rank, world_size)) for rank in range(world_size)]
    num_lanes = max(sum(lanes[first : first + devices]) for first in range(0, world_size, devices))
    return sum(
        largest_stretches(shards.counts[part.shards], shards.bytes[part.shards], part)
        for part in order.stretches(num_lanes)
    )


def largest_stretches(counts: np.ndarray, sizes: np.ndarray, stretches: Stretches) -> int:
    """Bound the bytes of the shards that stretches of samples touch, whatever the shards' order.

    Args:
        counts: Samples of each shard, int64 (num_shards,).
        sizes: Bytes of each shard, int64 (num_shards,).
        stretches: How many, and of how many samples; they do not overlap.
    """
    num, window = stretches.num, stretches.num_samples
    counts, sizes = counts[counts > 0], sizes[counts > 0]
    edges = np.sort(sizes)[::-1][: 2 * num].sum()
    inside = counts <= window - 2  # an edge on either side has a sample at least
    by_density = np.argsort(-sizes[inside] / counts[inside], kind="stable")
    counts_inside, sizes_inside = counts[inside][by_density], sizes[inside][by_density]
    taken = np.cumsum(counts_inside) <= num * max(window - 2, 0)
    between = sizes_inside[taken].sum()
    if not taken.all():  # and the part of the next one that would fit
        first = int(np.argmin(taken))
        room = num * (window - 2) - counts_inside[:first].sum()
        between += -(-sizes_inside[first] * room // counts_inside[first])
    return int(min(edges + between, sizes.sum()))


def cache_plan(
    train: ShardSet, least_bytes: int, heldout: ShardSet | None, num_readers: int
) -> str | None:
    """Say in one line how much cache a run needs and has.

    Args:
        train: The training shards.
        least_bytes: What `least_cache_bytes` says of them.
        heldout: The held-out shards, if there are any; each reader has one of them in hand.
        num_readers: Processes of this machine that read held-out images.

    Returns:
        The line; None if no shard is remote.

    Raises:
        ShardError: If the limit is smaller than what is needed.
    """
    remote, least = None, 0
    if heldout is not None and heldout.remote is not None:
        remote = heldout.remote
        least += int(np.sort(heldout.bytes)[::-1][:num_readers].sum())
    if train.remote is not None:
        remote = train.remote
        least += least_bytes
    if remote is None:
        return None
    need, limit = f"{_round_up(least)} GB", f"{remote.cache.limit_bytes / 1e9:.3g} GB"
    if least > remote.cache.limit_bytes:
        raise ShardError(
            f"the remote shards of this run need at least {need} of cache at once, and "
            f"{remote.cache.root} may hold {limit}; set data.cache_gb to that or more, choose "
            "another data.cache_dir, or use fewer data.num_lanes, smaller shards or more machines"
        )
    return f"remote shards: at least {need} of cache, limit {limit}, in {remote.cache.root}"


def _round_up(num_bytes: int) -> str:
    """Gigabytes that suffice, to three digits."""
    step = 10.0 ** (len(str(num_bytes)) - 3)
    return f"{np.ceil(num_bytes / step) * step / 1e9:.3g}"


@dataclass(frozen=True)
class Needs:
    """Which shards one rank needs, and when.

    Attributes:
        shards: The set.
        order: Its order.
        rank: Of this process.
        world_size: Processes in all.
        stop_step: Step the run ends at.
    """

    shards: ShardSet
    order: Order
    rank: int
    world_size: int
    stop_step: int

    def at(self, step: int) -> tuple[list[int], int]:
        """Return the shards of the blocks at a step, then of those after them; and until when.

        Nothing is looked up beyond a line's end: what is fetched ahead of it and what is in hand
        would not fit into the least cache together.
        """
        if self.order.places is not None:
            return np.unique(self.shards.locate(self.order.places)[0]).tolist(), self.stop_step
        after = self.order.next_block(step)
        found = self.order.shards_at(step, self.rank, self.world_size).tolist()
        if after < self.stop_step and not self.order.begins_ring(after):
            found += self.order.shards_at(after, self.rank, self.world_size).tolist()
        return list(dict.fromkeys(found)), after


class FetchAhead:
    """Fetches what a rank needs now and next, and holds it until it has passed.

    An error is left for whoever needs the shard: a loader worker tries it again, and tells.
    """

    def __init__(self, shards: ShardSet, at: Callable[[int], tuple[list[int], int]]) -> None:
        assert shards.remote is not None
        self.shards, self.remote, self.at = shards, shards.remote, at
        self._changed = threading.Condition()
        self._wanted: list[int] = []
        self._held: dict[int, int] = {}
        self._tried: set[int] = set()
        self._until, self._closed = -1, False
        self._threads = [
            threading.Thread(target=self._run, name="fetch-ahead", daemon=True)
            for _ in range(_NUM_THREADS)
        ]

    def reached(self, step: int) -> None:
        """Say that no step before this one is being read any more."""
        if step < self._until:
            return
        wanted, until = self.at(step)
        with self._changed:
            self._wanted, self._until = wanted, until
            self._tried.clear()
            for shard in [shard for shard in self._held if shard not in wanted]:
                self.remote.release(self._held.pop(shard))
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def close(self) -> None:
        """Let go of every shard; a download that is under way is left where it is."""
        with self._changed:
            self._wanted, self._closed = [], True
            while self._held:
                self.remote.release(self._held.popitem()[1])
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_LEAVE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (shard := self._next()) is None:
                    self._changed.wait()
                if self._closed or shard is None:
                    return
                self._tried.add(shard)
            try:
                file = self.remote.open(shard, self.shards.rows(shard), wait=False)
            except (ShardError, OSError):
                continue
            with self._changed:
                if file is None:
                    self._changed.wait(_ASK_AGAIN_S)
                    self._tried.discard(shard)
                elif shard in self._wanted and shard not in self._held:
                    self._held[shard] = file
                else:
                    self.remote.release(file)

    def _next(self) -> int | None:
        """Return the shard that is needed first of those nobody has gone for."""
        left = (s for s in self._wanted if s not in self._held and s not in self._tried)
        return next(left, None)


@dataclass(frozen=True)
class TrackedShares:
    """A batch sampler that tells the fetcher how far it is.

    The loader draws `num_in_flight` batches before it hands on the first, so a batch that is drawn
    says that the one drawn so many before it has been handed on.
    """

    shares: Shares
    ahead: FetchAhead
    num_in_flight: int

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[Share]:
        first = self.shares.start_step
        for step, draw in enumerate(self.shares, first):
            self.ahead.reached(max(first, step + 1 - self.num_in_flight))
            yield draw
