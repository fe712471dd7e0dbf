"""Loaders for the Trainer: knows ranks and workers, and passes integers down."""

import sys
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from ssl_swin import signals
from ssl_swin.data.batches.batch import Batch, collate
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.one_set import EvaluationShares, Order, Share, Shares
from ssl_swin.data.pixels import on_device
from ssl_swin.data.remote.ahead import TrackedShares
from ssl_swin.data.remote.need import Needs
from ssl_swin.data.shards.storage import Prefetch

_PREFETCH = 2  # batches that each loader process draws ahead


def _quiet_worker(worker: int) -> None:  # noqa: ARG001
    signals.ignore()
    torch.set_num_threads(1)
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Leave it to the main process to say that it is gone while a batch is handed over."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


@dataclass(frozen=True)
class Heldout:
    """Images that are measured and never trained on, in batches of at most `batch_size`."""

    stream: ImageStream
    batch_size: int


class StreamModule(LightningDataModule):
    """Global batches from one step of the run to another, and held-out images.

    Args:
        stream: The training images.
        order: Who reads what at which step.
        heldout: Held-out images, if there are any.
        steps: First step of this life, and the step the run ends at.
        num_workers: Loader processes per rank.
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
        self.stream, self.order = stream, order
        self.heldout, self.steps, self.num_workers = heldout, steps, num_workers
        self._ahead: Prefetch | None = None
        self._on_cpu = stream.on_cpu()

    def train_dataloader(self) -> DataLoader:
        """Return this rank's shares of the rest of the run."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        shares = Shares(self.order, rank, world_size, *self.steps)
        needs = Needs(self.stream.shards, self.order, rank, world_size, self.steps[1])
        self._ahead = self.stream.shards.storage.fetch_ahead(needs.at)
        in_flight = max(1, _PREFETCH * self.num_workers)
        return self._loader(self.stream, TrackedShares(shares, self._ahead, in_flight))

    def teardown(self, stage: str) -> None:
        """Let go of the remote shards."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch, and decode there what was left to the device."""
        jpegs = {name: batch.pop(name) for name in on_device.KEYS if name in batch}
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        for place in on_device.fill(moved["image"], **jpegs) if jpegs else ():
            asked = Share(batch["epoch"][[place]].numpy(), batch["index"][[place]].numpy())
            for name, value in self._on_cpu.__getitems__(asked).items():
                moved[name][place] = value[0].to(device)
        return moved

    def heldout_dataloader(self) -> DataLoader | None:
        """Return this rank's part of the held-out images, each read once over all ranks."""
        if self.heldout is None:
            return None
        assert self.trainer is not None
        index = np.arange(len(self.heldout.stream))
        shares = EvaluationShares(
            index, self.heldout.batch_size, self.trainer.global_rank, self.trainer.world_size
        )
        return self._loader(self.heldout.stream, shares)

    def fixed_images(self, num: int) -> Batch:
        """Return `num` images spread over the held-out set, or else the training set."""
        stream = self.heldout.stream if self.heldout else self._on_cpu
        index = np.linspace(0, len(stream) - 1, min(num, len(stream))).astype(np.int64)
        (draw,) = EvaluationShares(index, len(index), rank=0, world_size=1)
        return stream.__getitems__(draw)

    def _loader(self, stream: ImageStream, shares: TrackedShares | EvaluationShares) -> DataLoader:
        return DataLoader(
            stream,
            batch_sampler=shares,  # type: ignore[arg-type]  # a draw is no list, and need not be
            collate_fn=collate,  # type: ignore[arg-type]
            num_workers=self.num_workers,
            prefetch_factor=_PREFETCH if self.num_workers else None,
            worker_init_fn=_quiet_worker,
            pin_memory=torch.cuda.is_available(),
        )
