"""The order of one shard set: (seed, epoch, position) -> sample. Plain numbers, from NumPy alone.

An epoch lays the shards end to end in a shuffled order, and joins the end to the start: a ring of
samples. From a drawn sample on, the ring is cut into `num_lanes` lanes of equal length. Inside a
lane, samples are shuffled in blocks. So a rank, which owns a few lanes, keeps few shards open.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np

from ssl_swin.data.order.lanes import BLOCK_SIZE, Order, Share, Stretches, rank_lanes
from ssl_swin.draw import Purpose, integer, permutation
from ssl_swin.errors import UserError


@dataclass(frozen=True, eq=False)
class SetOrder(Order):
    """The order of a whole run over one shard set, dealt out as in `Dealing`.

    Attributes:
        counts: Samples in each shard, int64 (num_shards,).
        places: Places in the shard set of the samples that the run uses, int64 (num_samples,);
            None means all. If it is given, `counts` is of these samples.

    Raises:
        UserError: If the lanes do not divide the batch or the data is smaller than one batch.
    """

    counts: np.ndarray = field(repr=False)
    seed: int
    global_batch_size: int
    num_lanes: int
    block_size: int = BLOCK_SIZE
    places: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_samples < self.global_batch_size:
            largest = self.num_samples // self.num_lanes * self.num_lanes
            fits = f"the largest that fits {self.num_lanes} lanes is {largest}, " if largest else ""
            raise UserError(
                f"global_batch_size={self.global_batch_size} is larger than the data: "
                f"{self.num_samples} samples; set it lower: {fits}without regard to data.num_lanes "
                f"{self.num_samples}"
            )

    @cached_property
    def num_samples(self) -> int:
        """Samples that the order is of."""
        return int(self.counts.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch; what is left over, less than one batch, is dropped."""
        return self.num_samples // self.global_batch_size

    @cached_property
    def opened(self) -> Callable[[int], "EpochOrder"]:
        """Open one epoch; the last two stay open."""
        return lru_cache(maxsize=2)(partial(EpochOrder, self))

    def share(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        index = self.opened(epoch).samples(within, rank, world_size)  # (share,)
        return Share(epoch, index if self.places is None else self.places[index])

    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards that hold the blocks which a rank reads from at a step of the run."""
        number, within = divmod(step, self.steps_per_epoch)
        start, stop = within * self.per_lane, (within + 1) * self.per_lane
        epoch, lanes = self.opened(number), rank_lanes(self.num_lanes, rank, world_size)
        return np.unique(np.concatenate([epoch.shards(lane, start, stop) for lane in lanes]))

    def next_block(self, step: int) -> int:
        """Return the first step after `step` that reads from a block which `step` does not."""
        number, within = divmod(step, self.steps_per_epoch)
        last = ((within + 1) * self.per_lane - 1) // self.block_size
        begins = (last + 1) * self.block_size // self.per_lane
        return number * self.steps_per_epoch + min(begins, self.steps_per_epoch)

    def begins_ring(self, step: int) -> bool:
        """Whether a step begins an epoch: each epoch has a ring of its own."""
        return step % self.steps_per_epoch == 0

    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block in its epoch name together."""
        straddles = self.block_size % self.per_lane != 0
        num_blocks = 2 * (-(-(self.per_lane - 1) // self.block_size) + 1 if straddles else 1)
        window = min(num_blocks * self.block_size, self.steps_per_epoch * self.per_lane)
        return [Stretches(slice(None), num_lanes, window)]

    def in_hand(self, num_lanes: int) -> list[Stretches]:
        """Bound what a step reads over some lanes: of each a block, or as many as it takes."""
        return [Stretches(slice(None), num_lanes, self.blocks_of(self.per_lane))]

    def blocks_of(self, num: int) -> int:
        """Return the samples of as many blocks as so many samples of a lane fill."""
        whole = -(-num // self.block_size) * self.block_size
        return min(whole, self.steps_per_epoch * self.per_lane)


class EpochOrder:
    """One epoch of a `SetOrder`; any stretch of it takes time proportional to the stretch."""

    def __init__(self, order: SetOrder, epoch: int) -> None:
        self.order = order
        key = (order.seed, Purpose.SHARD_ORDER, epoch)
        self._shards = permutation(len(order.counts), *key)
        # (num_shards,) each, in the order of the ring: where a shard starts in the shard set, where
        # it begins on the ring, and where it ends there.
        counts = order.counts[self._shards]
        self._starts = (np.cumsum(order.counts) - order.counts)[self._shards]
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts
        self._rotation = integer(order.num_samples, order.seed, Purpose.ROTATION, epoch)
        self._lane_length = order.steps_per_epoch * order.per_lane
        # A method of this epoch in its own cache would keep it alive after its end.
        shuffled = partial(_shuffled_block, order.seed, epoch, order.block_size, self._lane_length)
        self._block = lru_cache(maxsize=2 * order.num_lanes)(shuffled)

    def lane(self, lane: int, start: int, stop: int) -> np.ndarray:
        """Return places in the shard set, int64, of positions [start, stop) of a lane."""
        size = self.order.block_size
        pieces = [
            self._block(lane, block)[max(start - block * size, 0) : stop - block * size]
            for block in range(start // size, -(-stop // size))
        ]
        # [(part of a block,), ...] -> (stop - start,): positions in the lane
        position = np.concatenate(pieces)
        # positions in the lane -> positions on the ring
        position = (lane * self._lane_length + position + self._rotation) % self.order.num_samples
        # -> (stop - start,): the shard that each position lies in
        shard = np.searchsorted(self._ends, position, side="right")
        return self._starts[shard] + (position - self._begins[shard])

    def shards(self, lane: int, start: int, stop: int) -> np.ndarray:
        """Return the shards that hold the blocks of positions [start, stop) of a lane, int64."""
        size, num_samples = self.order.block_size, self.order.num_samples
        start, stop = start // size * size, min(-(-stop // size) * size, self._lane_length)
        first = (lane * self._lane_length + start + self._rotation) % num_samples
        last = (first + stop - start - 1) % num_samples
        here, there = np.searchsorted(self._ends, (first, last), side="right")
        num_shards = len(self.order.counts)
        there += num_shards * int(last < first)  # round the ring
        # -> (shards touched,): places on the ring -> in the shard set
        found = self._shards[np.arange(here, there + 1) % num_shards]
        return found[self.order.counts[found] > 0]

    def samples(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the samples that a rank reads at a step of this epoch, int64 (share,)."""
        lanes = rank_lanes(self.order.num_lanes, rank, world_size)
        start, stop = step * self.order.per_lane, (step + 1) * self.order.per_lane
        # [(per_lane,), ...] -> (share,)
        return np.concatenate([self.lane(lane, start, stop) for lane in lanes])


def _shuffled_block(
    seed: int, epoch: int, block_size: int, lane_length: int, lane: int, block: int
) -> np.ndarray:
    """Return the positions of a block in its lane, shuffled, int64 (samples of the block,)."""
    start = block * block_size
    size = min(block_size, lane_length - start)
    return start + permutation(size, seed, Purpose.BLOCK_ORDER, epoch, lane, block)
