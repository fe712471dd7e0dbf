"""Lanes: the parts that an epoch is cut into, so that every number of ranks sees the same batches.

Every global batch takes the same number of samples from each lane. A rank owns some of the lanes,
so it reads about its share of the bytes, and any number of ranks up to the number of lanes sees the
same global batches. Plain numbers, from NumPy alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_swin.errors import UserError

BLOCK_SIZE = 4096  # samples shuffled together inside a lane
MAX_DEFAULT_LANES = 64
UNEVEN = 1.1  # a share may be so many times as large as if all were equal; the others wait for it


@dataclass(frozen=True)
class Dealing:
    """How a run deals its samples out to global batches."""

    seed: int
    global_batch_size: int
    num_lanes: int | None = None
    """None means as `default_num_lanes`."""
    block_size: int = BLOCK_SIZE


@dataclass(frozen=True)
class Share:
    """What one rank reads for one step."""

    epoch: int | np.ndarray
    """Pass over its set that each sample belongs to: one for all, or int64 (share,)."""
    index: np.ndarray
    """int64 (share,): places in the shard set."""

    @classmethod
    def join(cls, shares: Sequence["Share"]) -> "Share":
        """Lay shares end to end."""
        # [(share,), ...] -> (sum of the shares,)
        epochs = [np.broadcast_to(share.epoch, share.index.shape) for share in shares]
        return cls(np.concatenate(epochs), np.concatenate([share.index for share in shares]))


@dataclass(frozen=True)
class Stretches:
    """Stretches that hold all blocks in hand at once, whatever is drawn: how many, and how long."""

    shards: slice
    """The shards that this is about, as part of the shard set."""
    num: int
    """Stretches of the ring of these shards, at most."""
    num_samples: int
    """Samples of each stretch, at most."""


class Order(ABC):
    """Which samples each rank reads at each step: a `SetOrder`, or a `Mixture` of several."""

    global_batch_size: int
    num_lanes: int
    places: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.num_lanes < 1 or self.global_batch_size % self.num_lanes:
            raise UserError(
                f"data.num_lanes={self.num_lanes} does not divide "
                f"global_batch_size={self.global_batch_size}; use a divisor, for example "
                f"{default_num_lanes(self.global_batch_size)}"
            )

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch; what is left over, less than one batch, is dropped."""

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """Samples that the order is of."""

    @abstractmethod
    def share(self, step: int, rank: int = 0, world_size: int = 1) -> Share:
        """Return what a rank reads at a step of the run, counted from 0 over all epochs.

        The shares of all ranks, laid end to end, are the global batch.
        """

    @abstractmethod
    def shards_at(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the shards that hold the blocks which a rank reads from at a step of the run.

        They are int64 places in the shard set, ascending, each once; shards without samples are
        left out. No sample is drawn for this.
        """

    @abstractmethod
    def next_block(self, step: int) -> int:
        """Return the first step after `step` that reads from a block which `step` does not."""

    @abstractmethod
    def begins_ring(self, step: int) -> bool:
        """Whether the blocks of a step lie on another ring than those of the step before."""

    @abstractmethod
    def stretches(self, num_lanes: int) -> list[Stretches]:
        """Bound what `shards_at` of a step and of the next block name together, over some lanes.

        The bound does not hold where the next block begins a ring: the two may lie anywhere then.
        """

    @abstractmethod
    def in_hand(self, num_lanes: int) -> list[Stretches]:
        """Bound what a step reads over some lanes, where none goes on to its next block in it."""

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


def default_num_lanes(global_batch_size: int, world_size: int = 1) -> int:
    """Return the lanes of a run that begins with so many processes, a divisor of its global batch.

    That is the largest one up to 64, so that it does not depend on the processes. More of them than
    that get the fewest lanes with which twice as many can go on and which leave shares even, as far
    as the batch admits both. A batch with fewer images than processes has one lane for each.
    """
    divisors = [n for n in range(1, global_batch_size + 1) if global_batch_size % n == 0]
    few = max(n for n in divisors if n <= MAX_DEFAULT_LANES)
    if world_size <= few:
        return few
    enough = [n for n in divisors if n >= world_size] or divisors[-1:]
    even = [n for n in enough if _largest_share(n, world_size) <= UNEVEN / world_size]
    if not even:
        return min(enough, key=lambda n: (_largest_share(n, world_size), n))
    return next((n for n in even if n >= 2 * world_size), even[-1])


def _largest_share(num_lanes: int, world_size: int) -> float:
    """Return the part of a global batch that falls to the rank with the most lanes."""
    return -(-num_lanes // world_size) / num_lanes


def rank_lanes(num_lanes: int, rank: int, world_size: int) -> range:
    """Return a rank's lanes, as many as another's or one more; UserError if some rank has none."""
    if world_size > num_lanes:
        raise UserError(
            f"{world_size} processes cannot share data.num_lanes={num_lanes} lanes; use at most "
            f"{num_lanes} processes, or more lanes (a divisor of the global batch) in a new run"
        )
    return range(rank * num_lanes // world_size, (rank + 1) * num_lanes // world_size)
