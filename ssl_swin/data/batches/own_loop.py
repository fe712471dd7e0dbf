"""A loader for somebody's own loop: shuffled, shared out among processes, and it can go on."""

import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.distributed
from torch.utils.data import DataLoader

from ssl_swin.data.batches.loader import loader, num_in_flight
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.need import Needs
from ssl_swin.data.order.lanes import MAX_DEFAULT_LANES, Order, Share
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import EvaluationShares, Shares
from ssl_swin.data.remote.ahead import TrackedShares
from ssl_swin.data.shards.storage import Prefetch
from ssl_swin.errors import UserError


def make_loader(
    stream: ImageStream,
    batch_size: int,
    seed: int | None = 0,
    start_step: int = 0,
    num_workers: int = 0,
) -> DataLoader:
    """Return a loader of batches, each a dict of tensors as `ImageStream` says.

    Each pass over the loader is the next epoch, in another order, with other crops; ``len(loader)``
    batches of it, which leaves out less than a batch, other images each time. All of that is a
    function of `seed` and the epoch: a loop that was stopped after `n` batches goes on with
    ``start_step=n`` and reads what it would have read.

    Under `torch.distributed` each process calls this and gets its own part of every batch; under
    Lightning, in `train_dataloader`, with ``Trainer(use_distributed_sampler=False)``.

    Args:
        stream: Which images, and how they are cut.
        batch_size: Images of a batch, of this process.
        seed: Of the order. None reads every image once, in the order of the set, the last batch
            perhaps smaller: for features and evaluation.
        start_step: Batches that were read before, over all epochs.
        num_workers: Loader processes; 0 reads in this one.

    Raises:
        UserError: If an argument is out of range, or there are fewer images than a batch has.
    """
    _require(1, batch_size=batch_size)
    _require(0, start_step=start_step, num_workers=num_workers)
    rank, world_size = _place()
    if seed is None:
        if start_step:
            raise UserError(
                f"start_step={start_step} with seed=None, which reads every image from the first "
                "on; leave it out, or give a seed"
            )
        places = np.arange(len(stream))
        return loader(stream, EvaluationShares(places, batch_size, rank, world_size), num_workers)
    order = _order(stream, batch_size, seed, world_size)
    needs = Needs(stream.shards, order, rank, world_size, stop_step=sys.maxsize)
    storage = stream.shards.storage
    storage.keep_open(needs.most_at_once())
    ahead = storage.fetch_ahead(needs.at)
    epochs = Epochs(order, (rank, world_size), start_step, ahead, num_in_flight(num_workers))
    batches = loader(stream, epochs, num_workers)
    weakref.finalize(batches, ahead.close)
    return batches


@dataclass
class Epochs:
    """Batch sampler of which each pass is the next epoch, the first from `next_step` on."""

    order: Order
    place: tuple[int, int]
    """Rank and world size."""
    next_step: int
    """Where the next pass begins, counted over all epochs."""
    ahead: Prefetch
    num_in_flight: int

    def __len__(self) -> int:
        return self._stop - self.next_step

    def __iter__(self) -> Iterator[Share]:
        # Only with the first share has a pass begun: torch also makes iterators that it never asks.
        shares = Shares(self.order, *self.place, self.next_step, self._stop)
        self.next_step = self._stop
        yield from TrackedShares(shares, self.ahead, self.num_in_flight)

    @property
    def _stop(self) -> int:
        """The end of the epoch in which the next pass begins."""
        num = self.order.steps_per_epoch
        return (self.next_step // num + 1) * num


def _place() -> tuple[int, int]:
    """Return this process's rank, and how many there are."""
    spread = torch.distributed
    if not (spread.is_available() and spread.is_initialized()):
        return 0, 1
    return spread.get_rank(), spread.get_world_size()


def _order(stream: ImageStream, batch_size: int, seed: int, world_size: int) -> SetOrder:
    """Return an order that gives each process the same number of images of every batch."""
    if batch_size * world_size > len(stream):
        each = "process" if world_size == 1 else "processes each"
        raise UserError(
            f"batch_size={batch_size} on {world_size} {each} is more than the {len(stream)} images "
            "that there are; use a smaller one"
        )
    most = max(1, MAX_DEFAULT_LANES // world_size)  # lanes of a process
    each_has = max(n for n in range(1, most + 1) if batch_size % n == 0)
    num_lanes = world_size * each_has
    return SetOrder(stream.shards.counts, seed, batch_size * world_size, num_lanes)


def _require(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise UserError(f"{name}={value} must be at least {least}")
