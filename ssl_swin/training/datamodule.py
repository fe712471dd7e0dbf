"""Loaders for the Trainer: knows ranks and workers, and passes integers down."""

from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.batches.loader import loader, num_in_flight
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.need import Needs
from ssl_swin.data.order.lanes import Order, Share
from ssl_swin.data.order.shares import EvaluationShares, Shares
from ssl_swin.data.remote.ahead import TrackedShares
from ssl_swin.data.shards.storage import Prefetch
from ssl_swin.training.to_device import Copies, moved
from ssl_swin.training.trainer import say
from ssl_swin.training.waiting import Batches, Meets


@dataclass(frozen=True)
class Heldout:
    """Images that are measured and never trained on, in batches of at most `batch_size`."""

    stream: ImageStream
    batch_size: int
    labelled: np.ndarray | None = None
    """int64 (num_images,): the places that are measured; None for all."""

    @property
    def places(self) -> np.ndarray:
        """int64 (num_images,): the places that are measured."""
        return np.arange(len(self.stream)) if self.labelled is None else self.labelled


class StreamModule(LightningDataModule):
    """Gives a rank its shares of the global batches, and of the held-out images.

    The `steps` are the first step of this life and the step the run ends at. With a `meeting`, each
    batch is handed on when all ranks go on.
    """

    def __init__(
        self,
        stream: ImageStream,
        order: Order,
        heldout: Heldout | None,
        steps: tuple[int, int],
        num_workers: int,
    ) -> None:
        super().__init__()
        self.stream, self.order, self.heldout = stream, order, heldout
        self.steps, self.num_workers = steps, num_workers
        self.meeting: Meets | None = None
        self.fixed: Batch | None = None  # the only batch, in place of those of a loader
        self._batches: Batches | None = None
        self._ahead: Prefetch | None = None

    def train_dataloader(self) -> DataLoader | Batches:
        """Return this rank's shares of the rest of the run."""
        if self.fixed is not None:
            return DataLoader([self.fixed], batch_size=None)  # type: ignore[arg-type]
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        shares = Shares(self.order, rank, world_size, *self.steps)
        needs = Needs(self.stream.shards, self.order, rank, world_size, self.steps[1])
        storage = self.stream.shards.storage
        in_hand = needs.most_at_once()
        if (kept := storage.keep_open(in_hand)) < in_hand:
            say(
                f"{in_hand} shards are read at once and {kept} can stay open, so some are opened "
                "again and again; raise the limit of open files (ulimit -n), or pack larger shards"
            )
        self._ahead = storage.fetch_ahead(needs.at)
        tracked = TrackedShares(shares, self._ahead, num_in_flight(self.num_workers))
        batches = loader(self.stream, tracked, self.num_workers)
        if self.meeting is None:
            return batches
        device = self.trainer.strategy.root_device
        copies = Copies(device) if device.type == "cuda" else None
        self._batches = Batches(batches, self.meeting, copies)
        return self._batches

    def teardown(self, stage: str) -> None:
        """Let go of the loader and the remote shards."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch that is not yet there."""
        transfer = super().transfer_batch_to_device
        if "ids" in batch:
            return batch
        return moved(batch, lambda value: transfer(value, device, dataloader_idx))

    def heldout_dataloader(self) -> DataLoader | None:
        """Return this rank's share of the held-out images, each read once over all ranks."""
        if self.heldout is None:
            return None
        stream, batch_size = self.heldout.stream, self.heldout.batch_size
        return self.once(stream, self.heldout.places, batch_size)

    def once(self, stream: ImageStream, index: np.ndarray, batch_size: int) -> DataLoader:
        """Return this rank's share of these places, int64 (num_images,), each read once by all."""
        assert self.trainer is not None
        place = self.trainer.global_rank, self.trainer.world_size
        return loader(stream, EvaluationShares(index, batch_size, *place), self.num_workers)

    @property
    def shown_channels(self) -> tuple[int, ...] | None:
        """The channels of a batch that pictures show, if somebody chose them."""
        bands = self.stream.renderer.reading.bands
        return None if bands is None else bands.shown

    def fixed_images(self, num: int) -> Batch:
        """Return `num` images spread over the held-out set, or else the training set."""
        stream = self.heldout.stream if self.heldout else self.stream
        places = self.heldout.places if self.heldout else np.arange(len(stream))
        index = np.linspace(0, len(places) - 1, min(num, len(places))).astype(np.int64)
        return stream.read(Share(0, places[index]))
