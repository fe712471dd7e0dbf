"""The global order: (seed, epoch, position) -> sample. Plain numbers, from NumPy alone.

An epoch lays the shards end to end in a shuffled order, rotated by a drawn offset, and cuts this
line of samples by count into `num_lanes` lanes of equal length. Inside a lane, samples are shuffled
in blocks. Every global batch takes the same number of samples from each lane, so it is a pure
function of the step; a rank owns some of the lanes, so it reads about its share of the bytes and
keeps few shards open, and any number of ranks up to `num_lanes` sees the same global batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np

from ssl_swin.draw import Purpose, integer, permutation

BLOCK_SIZE = 4096  # samples shuffled together inside a lane
MAX_DEFAULT_LANES = 64


@dataclass(frozen=True)
class Share:
    """What one rank reads for one step: the samples' places in the shard set, and their epochs."""

    epoch: int | np.ndarray  # int64 (share,) where they differ: each sample's pass over its set
    index: np.ndarray  # int64 (share,)

    @classmethod
    def join(cls, draws: list["Share"]) -> "Share":
        """Lay draws end to end."""
        epochs = [np.broadcast_to(draw.epoch, draw.index.shape) for draw in draws]
        return cls(np.concatenate(epochs), np.concatenate([draw.index for draw in draws]))


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
class Stretches:
    """How much of some shards the blocks in hand may touch at once, whatever is drawn."""

    shards: slice
    """Which of the shard set."""
    num: int
    """Stretches of the line of these shards."""
    num_samples: int
    """Samples of each stretch at most."""


class Order(ABC):
    """Global batches dealt to ranks in lanes: an `SetOrder`, or a `Mixture` of several."""

    global_batch_size: int
    num_lanes: int
    places: np.ndarray | None = None

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch; what is left over, less than one batch, is dropped."""

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Samples that there are to draw from."""

    @abstractmethod
    def draw(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs.

        The shares of all ranks, laid end to end, are the global batch.
        """

    @abstractmethod
    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards in which a rank's blocks in progress at a step of the run lie.

        No sample is drawn for this.

        Returns:
            Places in the shard set, int64, ascending, each once; shards without samples left out.
        """

    @abstractmethod
    def next_block(self, step: int) -> int:
        """Return the first step after `step` that reads a block which `step` does not."""

    @abstractmethod
    def begins_line(self, step: int) -> bool:
        """Whether the blocks of a step lie in another order of the shards than those before."""

    @abstractmethod
    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block name together.

        Not so where the next block begins a line: the two may then lie anywhere.
        """

    @property
    def per_lane(self) -> int:
        """Samples that a global batch takes from each lane."""
        return self.global_batch_size // self.num_lanes

    def share_size(self, rank: int, world_size: int) -> int:
        """Samples that a rank reads at each step."""
        return len(rank_lanes(self.num_lanes, rank, world_size)) * self.per_lane

    def num_micro_batches(self, micro_batch_size: int, world_size: int) -> int:
        """Micro-batches per step, the same for every rank: what the largest share needs."""
        largest = max(self.share_size(rank, world_size) for rank in range(world_size))
        return -(-largest // micro_batch_size)


def require_lanes_divide(num_lanes: int, global_batch_size: int) -> None:
    """Refuse lanes that do not take equal parts of a global batch.

    Raises:
        ValueError: If they do not.
    """
    if num_lanes < 1 or global_batch_size % num_lanes:
        raise ValueError(
            f"data.num_lanes={num_lanes} does not divide global_batch_size={global_batch_size}; "
            f"use a divisor, for example {default_num_lanes(global_batch_size)}"
        )


@dataclass(frozen=True, eq=False)
class SetOrder(Order):
    """The order of a whole run over one shard set.

    Attributes:
        counts: Samples in each shard, int64 (num_shards,).
        seed: The run's seed, not negative.
        global_batch_size: Samples in one optimiser step over all ranks.
        num_lanes: Lanes an epoch is dealt in; divides the global batch size.
        block_size: Samples shuffled together inside a lane.
        places: The samples' places in the shard set, int64 (num_samples,), if the run uses only
            some of them; `counts` is then of these.

    Raises:
        ValueError: If the lanes do not divide the batch or the data is smaller than one batch.
    """

    counts: np.ndarray = field(repr=False)
    seed: int
    global_batch_size: int
    num_lanes: int
    block_size: int = BLOCK_SIZE
    places: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_lanes_divide(self.num_lanes, self.global_batch_size)
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

    @cached_property
    def opened(self) -> Callable[[int], "EpochOrder"]:
        """`epoch`, but the last two stay open."""
        return lru_cache(maxsize=2)(self.epoch)

    def draw(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        index = self.opened(epoch).share(within, rank, world_size)
        return Share(epoch, index if self.places is None else self.places[index])

    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards in which a rank's blocks in progress at a step of the run lie."""
        number, within = divmod(step, self.steps_per_epoch)
        start, stop = within * self.per_lane, (within + 1) * self.per_lane
        epoch, lanes = self.opened(number), rank_lanes(self.num_lanes, rank, world_size)
        return np.unique(np.concatenate([epoch.shards(lane, start, stop) for lane in lanes]))

    def next_block(self, step: int) -> int:
        """Return the first step after `step` that reads a block which `step` does not."""
        number, within = divmod(step, self.steps_per_epoch)
        last = ((within + 1) * self.per_lane - 1) // self.block_size
        begins = (last + 1) * self.block_size // self.per_lane
        return number * self.steps_per_epoch + min(begins, self.steps_per_epoch)

    def begins_line(self, step: int) -> bool:
        """Whether a step begins an epoch."""
        return step % self.steps_per_epoch == 0

    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block in its epoch name together."""
        straddles = self.block_size % self.per_lane != 0
        num_blocks = 2 * (-(-(self.per_lane - 1) // self.block_size) + 1 if straddles else 1)
        window = min(num_blocks * self.block_size, self.steps_per_epoch * self.per_lane)
        return [Stretches(slice(None), num_lanes, window)]


class EpochOrder:
    """One epoch of an `SetOrder`: any stretch of it in time proportional to the stretch."""

    def __init__(self, order: SetOrder, epoch: int) -> None:
        self.order = order
        key = (order.seed, Purpose.SHARD_ORDER, epoch)
        self._shards = permutation(len(order.counts), *key)
        counts = order.counts[self._shards]
        starts = np.cumsum(order.counts) - order.counts
        self._starts = starts[self._shards]  # of each shard, in the shard set
        self._ends = np.cumsum(counts)  # of each shard, on this epoch's line
        self._begins = self._ends - counts
        self._rotation = integer(order.num_samples, order.seed, Purpose.ROTATION, epoch)
        self._lane_length = order.steps_per_epoch * order.per_lane
        # Not a method: an epoch that its own cache refers to would outlive its end.
        draw = partial(_draw_block, order.seed, epoch, order.block_size, self._lane_length)
        self._block = lru_cache(maxsize=2 * order.num_lanes)(draw)

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

    def shards(self, lane: int, start: int, stop: int) -> np.ndarray:
        """Return the shards that the blocks of positions [start, stop) of a lane lie in."""
        size, num_samples = self.order.block_size, self.order.num_samples
        start, stop = start // size * size, min(-(-stop // size) * size, self._lane_length)
        first = (lane * self._lane_length + start + self._rotation) % num_samples
        last = (first + stop - start - 1) % num_samples
        here, there = np.searchsorted(self._ends, (first, last), side="right")
        num_shards = len(self.order.counts)
        there += num_shards * int(last < first)  # the line is a ring
        found = self._shards[np.arange(here, there + 1) % num_shards]
        return found[self.order.counts[found] > 0]

    def share(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the samples a rank reads at a step of this epoch, int64 (share,)."""
        lanes = rank_lanes(self.order.num_lanes, rank, world_size)
        start = step * self.order.per_lane
        stop = start + self.order.per_lane
        return np.concatenate([self.lane(lane, start, stop) for lane in lanes])


def _draw_block(
    seed: int, epoch: int, block_size: int, lane_length: int, lane: int, block: int
) -> np.ndarray:
    start = block * block_size
    size = min(block_size, lane_length - start)
    return start + permutation(size, seed, Purpose.BLOCK_ORDER, epoch, lane, block)


@dataclass(frozen=True)
class Shares:
    """Batch sampler of one rank from one step of the run to another; steps count from 0.

    It runs through epoch ends without a pause, so that loader workers never restart.
    """

    order: Order
    rank: int
    world_size: int
    start_step: int
    stop_step: int

    def __len__(self) -> int:
        return self.stop_step - self.start_step

    def __iter__(self) -> Iterator[Share]:
        for step in range(self.start_step, self.stop_step):
            yield self.order.draw(step, self.rank, self.world_size)


@dataclass(frozen=True)
class EvaluationShares:
    """Batch sampler that reads every one of `index` once, whatever the world size: no padding."""

    index: np.ndarray
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return -(-len(self.index[self.rank :: self.world_size]) // self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        mine = self.index[self.rank :: self.world_size]
        for start in range(0, len(mine), self.batch_size):
            yield Share(0, mine[start : start + self.batch_size])


def micro_batch_bounds(share: int, num_micro_batches: int) -> list[tuple[int, int]]:
    """Cut a share into micro-batches whose sizes differ by at most one.

    A share smaller than the number of micro-batches leaves the first ones empty, never the last,
    because the last is the one that synchronises gradients.
    """
    cuts = [i * share // num_micro_batches for i in range(num_micro_batches + 1)]
    return list(pairwise(cuts))
