"""The global order: (seed, epoch, position) -> sample. Plain numbers, from NumPy alone.

An epoch lays the shards end to end in a shuffled order, rotated by a drawn offset, and cuts this
line of samples by count into `num_lanes` lanes of equal length. Inside a lane, samples are shuffled
in blocks. Every global batch takes the same number of samples from each lane, so it is a pure
function of the step; a rank owns some of the lanes, so it reads about its share of the bytes and
keeps few shards open, and any number of ranks up to `num_lanes` sees the same global batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from ssl_swin.data.draw import Purpose, integer, permutation

BLOCK_SIZE = 4096  # samples shuffled together inside a lane
MAX_DEFAULT_LANES = 64


@dataclass(frozen=True)
class Draw:
    """What one rank reads for one step: the epoch and the samples' places in the shard set."""

    epoch: int
    index: np.ndarray  # int64 (share,)


def default_num_lanes(global_batch_size: int) -> int:
    """Return the largest divisor of the global batch size that is at most 64."""
    return max(n for n in range(1, MAX_DEFAULT_LANES + 1) if global_batch_size % n == 0)


def rank_lanes(num_lanes: int, rank: int, world_size: int) -> range:
    """Return the lanes of one rank; shares differ by at most one lane.

    Raises:
        ValueError: If there are more ranks than lanes.
    """
    if world_size > num_lanes:
        raise ValueError(
            f"{world_size} processes cannot share data.num_lanes={num_lanes} lanes; use at most "
            f"{num_lanes} processes, or more lanes (a divisor of the global batch) in a new run"
        )
    return range(rank * num_lanes // world_size, (rank + 1) * num_lanes // world_size)


@dataclass(frozen=True)
class Order:
    """The order of a whole run over one shard set.

    Attributes:
        counts: Samples in each shard, int64 (num_shards,).
        seed: The run's seed, not negative.
        global_batch_size: Samples in one optimiser step over all ranks.
        num_lanes: Lanes an epoch is dealt in; divides the global batch size.
        block_size: Samples shuffled together inside a lane.

    Raises:
        ValueError: If the lanes do not divide the batch or the data is smaller than one batch.
    """

    counts: np.ndarray = field(repr=False)
    seed: int
    global_batch_size: int
    num_lanes: int
    block_size: int = BLOCK_SIZE

    def __post_init__(self) -> None:
        if self.num_lanes < 1 or self.global_batch_size % self.num_lanes:
            raise ValueError(
                f"data.num_lanes={self.num_lanes} does not divide "
                f"global_batch_size={self.global_batch_size}; use a divisor, for example "
                f"{default_num_lanes(self.global_batch_size)}"
            )
        if self.num_samples < self.global_batch_size:
            largest = self.num_samples // self.num_lanes * self.num_lanes
            fits = f"the largest that fits {self.num_lanes} lanes is {largest}, " if largest else ""
            raise ValueError(
                f"global_batch_size={self.global_batch_size} is larger than the data: "
                f"{self.num_samples} samples; {fits}without regard to data.num_lanes "
                f"{self.num_samples}"
            )

    @cached_property
    def num_samples(self) -> int:
        """Samples in the shard set."""
        return int(self.counts.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch; what is left over, less than one batch, is dropped."""
        return self.num_samples // self.global_batch_size

    def epoch(self, epoch: int) -> "EpochOrder":
        """Open one epoch."""
        return EpochOrder(self, epoch)

    def share_size(self, rank: int, world_size: int) -> int:
        """Samples that a rank reads at each step."""
        lanes = rank_lanes(self.num_lanes, rank, world_size)
        return len(lanes) * (self.global_batch_size // self.num_lanes)

    def num_micro_batches(self, micro_batch_size: int, world_size: int) -> int:
        """Micro-batches per step, the same for every rank: what the largest share needs."""
        largest = max(self.share_size(rank, world_size) for rank in range(world_size))
        return -(-largest // micro_batch_size)


class EpochOrder:
    """One epoch of an `Order`: any stretch of it in time proportional to the stretch."""

    def __init__(self, order: Order, epoch: int) -> None:
        self.order, self.number = order, epoch
        key = (order.seed, Purpose.SHARD_ORDER, epoch)
        self._shards = permutation(len(order.counts), *key)
        counts = order.counts[self._shards]
        starts = np.cumsum(order.counts) - order.counts
        self._starts = starts[self._shards]  # of each shard, in the shard set
        self._ends = np.cumsum(counts)  # of each shard, on this epoch's line
        self._begins = self._ends - counts
        self._rotation = integer(order.num_samples, order.seed, Purpose.ROTATION, epoch)
        self._lane_length = order.steps_per_epoch * (order.global_batch_size // order.num_lanes)
        self._block = lru_cache(maxsize=2 * order.num_lanes)(self._draw_block)

    def _draw_block(self, lane: int, block: int) -> np.ndarray:
        start = block * self.order.block_size
        size = min(self.order.block_size, self._lane_length - start)
        key = (self.order.seed, Purpose.BLOCK_ORDER, self.number, lane, block)
        return start + permutation(size, *key)

    def lane(self, lane: int, start: int, stop: int) -> np.ndarray:
        """Return the samples at positions [start, stop) of a lane, as places in the shard set."""
        size = self.order.block_size
        pieces = [
            self._block(lane, block)[max(start - block * size, 0) : stop - block * size]
            for block in range(start // size, -(-stop // size))
        ]
        place = lane * self._lane_length + np.concatenate(pieces)
        place = (place + self._rotation) % self.order.num_samples
        shard = np.searchsorted(self._ends, place, side="right")
        return self._starts[shard] + (place - self._begins[shard])

    def share(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the samples a rank reads at a step of this epoch, int64 (share,).

        The shares of all ranks, laid end to end, are the global batch.
        """
        per_lane = self.order.global_batch_size // self.order.num_lanes
        lanes = rank_lanes(self.order.num_lanes, rank, world_size)
        start = step * per_lane
        return np.concatenate([self.lane(lane, start, start + per_lane) for lane in lanes])


@dataclass(frozen=True)
class Shares:
    """Batch sampler of one rank from one step of the run to another; steps count from 0.

    It runs through epoch ends without a pause, so that loader workers never restart. `places` maps
    the order's samples to places in the shard set when the run uses only some of them.
    """

    order: Order
    rank: int
    world_size: int
    start_step: int
    stop_step: int
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return self.stop_step - self.start_step

    def __iter__(self) -> Iterator[Draw]:
        epoch: EpochOrder | None = None
        for step in range(self.start_step, self.stop_step):
            number, within = divmod(step, self.order.steps_per_epoch)
            if epoch is None or epoch.number != number:
                epoch = self.order.epoch(number)
            index = epoch.share(within, self.rank, self.world_size)
            yield Draw(number, index if self.places is None else self.places[index])


@dataclass(frozen=True)
class EvaluationShares:
    """Batch sampler that reads every one of `index` once, whatever the world size: no padding."""

    index: np.ndarray
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return -(-len(self.index[self.rank :: self.world_size]) // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        mine = self.index[self.rank :: self.world_size]
        for start in range(0, len(mine), self.batch_size):
            yield Draw(0, mine[start : start + self.batch_size])


def micro_batch_bounds(share: int, num_micro_batches: int) -> list[tuple[int, int]]:
    """Cut a share into micro-batches whose sizes differ by at most one.

    A share smaller than the number of micro-batches leaves the first ones empty, never the last,
    because the last is the one that synchronises gradients.
    """
    cuts = [i * share // num_micro_batches for i in range(num_micro_batches + 1)]
    return list(pairwise(cuts))


def shards_at(order: Order, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
    """Return the shards in which a rank's blocks in progress at a step of the run lie.

    A block is one stretch of the epoch's line of shards, so no sample has to be drawn for this.

    Returns:
        Places in the shard set, int64, ascending, each once; shards without samples left out.
    """
    number, within = divmod(step, order.steps_per_epoch)
    epoch = order.epoch(number)
    per_lane, size = order.global_batch_size // order.num_lanes, order.block_size
    start = within * per_lane // size * size
    stop = min(-(-(within + 1) * per_lane // size) * size, epoch._lane_length)
    lanes = np.array(rank_lanes(order.num_lanes, rank, world_size))
    first = (lanes * epoch._lane_length + start + epoch._rotation) % order.num_samples
    last = (first + stop - start - 1) % order.num_samples
    places = []
    for begin, end in zip(first, last, strict=True):
        here, there = np.searchsorted(epoch._ends, (begin, end), side="right")
        there += len(order.counts) * int(end < begin)  # the line is a ring
        places.append(np.arange(here, there + 1) % len(order.counts))
    found = np.unique(epoch._shards[np.concatenate(places)])
    return found[order.counts[found] > 0]


def next_block(order: Order, step: int) -> int:
    """Return the first step after `step` that reads a block which `step` does not."""
    number, within = divmod(step, order.steps_per_epoch)
    per_lane = order.global_batch_size // order.num_lanes
    last = ((within + 1) * per_lane - 1) // order.block_size
    begins = (last + 1) * order.block_size // per_lane
    return number * order.steps_per_epoch + min(begins, order.steps_per_epoch)
