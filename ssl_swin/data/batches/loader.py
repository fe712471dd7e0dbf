"""Loader processes: how they start, and how far they read ahead."""

import sys
from collections.abc import Iterable
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from ssl_swin import signals
from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.lanes import Share

_PREFETCH = 2  # batches that each loader process makes ahead


def loader(stream: ImageStream, shares: Iterable[Share], num_workers: int) -> DataLoader:
    """Return a loader of a process's batches, one for each share, in order.

    It has a length if `shares` has one. Without loader processes this process reads.
    """
    return DataLoader(
        stream,
        batch_sampler=shares,  # type: ignore[arg-type]  # a share is no list, and need not be
        collate_fn=collate,  # type: ignore[arg-type]
        num_workers=num_workers,
        prefetch_factor=_PREFETCH if num_workers else None,
        worker_init_fn=_start_quietly,
        pin_memory=torch.cuda.is_available(),
    )


def num_in_flight(num_workers: int) -> int:
    """Return how many shares a loader takes before it hands on the first batch."""
    return max(1, _PREFETCH * num_workers)


def _start_quietly(worker: int) -> None:  # noqa: ARG001
    signals.ignore()  # torch itself has set one thread
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Stay silent if the main process is gone while a batch is handed over: it says so itself."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
