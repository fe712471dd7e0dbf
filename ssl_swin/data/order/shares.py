"""What a rank hands to its loader, step by step, and how a share is cut into micro-batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ssl_swin.data.order.lanes import Order, Share


@dataclass(frozen=True)
class Shares:
    """Batch sampler of one rank from one step of the run to another; steps count from 0.

    It runs on through the ends of epochs, so that loader processes never start again.
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
            yield self.order.share(step, self.rank, self.world_size)


@dataclass(frozen=True)
class EvaluationShares:
    """Batch sampler of one rank that reads its part of `index`, in batches of at most `batch_size`.

    All ranks together read every place of `index`, int64 (num_samples,), once; nothing is padded.
    """

    index: np.ndarray
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return -(-len(self._mine) // self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        for start in range(0, len(self._mine), self.batch_size):
            yield Share(0, self._mine[start : start + self.batch_size])

    @property
    def _mine(self) -> np.ndarray:
        # (num_samples,) -> (samples of this rank,)
        return self.index[self.rank :: self.world_size]


def micro_batch_bounds(share: int, num_micro_batches: int) -> list[tuple[int, int]]:
    """Cut so many samples into micro-batches [start, stop) whose sizes differ by at most one.

    A share smaller than the number of micro-batches leaves the first ones empty, never the last,
    because the last is the one that synchronises gradients.
    """
    cuts = [i * share // num_micro_batches for i in range(num_micro_batches + 1)]
    return list(pairwise(cuts))
