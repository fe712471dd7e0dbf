"""Loader processes: how they start, and how far they read ahead."""

import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable
from multiprocessing import queues, util
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ssl_swin import signals
from ssl_swin.data.batches.batch import collate
from ssl_swin.data.order.lanes import Share
from ssl_swin.errors import UserError
from ssl_swin.machine import IN_FLIGHT_EACH, cause

_SOCKET_PATH = 107  # longest name of a socket, in bytes
_SOCKET_NAME = len("/pymp-12345678/listener-12345678")  # what is added to the folder's name
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # its own folder in one of them


def loader(stream: Dataset, shares: Iterable[Share], num_workers: int) -> DataLoader:
    """Return a loader of a process's batches, one for each share, in order.

    The stream's `__getitems__` takes a share, as that of `ImageStream`. The loader has a length if
    `shares` has one. Without loader processes this process reads.

    Raises:
        UserError: If no folder has a name that is short enough for the processes' sockets.
    """
    if num_workers:
        make_socket_folder()
    return DataLoader(
        stream,
        batch_sampler=shares,  # type: ignore[arg-type]  # a share is no list, and need not be
        collate_fn=collate,  # type: ignore[arg-type]
        num_workers=num_workers,
        prefetch_factor=IN_FLIGHT_EACH if num_workers else None,
        worker_init_fn=_start_quietly,
        pin_memory=torch.cuda.is_available(),
    )


def num_in_flight(num_workers: int) -> int:
    """Return how many shares a loader takes before it hands on the first batch."""
    return max(1, IN_FLIGHT_EACH * num_workers)


def make_socket_folder() -> None:
    """Make the folder of the sockets by which loader processes hand over memory.

    It would be in `TMPDIR`, but a socket's name has at most 107 bytes, and jobs' folders may have
    long names. Python keeps the folder for this process and those it starts, and removes it.

    Raises:
        UserError: If there is no folder with a name that is short enough.
    """
    usual = tempfile.gettempdir()
    for folder in (usual, *_SHORT_FOLDERS):
        if len(os.fsencode(folder)) + _SOCKET_NAME > _SOCKET_PATH:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            try:
                util.get_temp_dir()
            except OSError:  # it is full
                continue
            finally:
                tempfile.tempdir = usual
            return
    raise UserError(
        f"TMPDIR={usual} is full, read-only or too long a name for sockets of loader processes, "
        f"and so are {', '.join(_SHORT_FOLDERS)}: set TMPDIR to a folder of at most "
        f"{_SOCKET_PATH - _SOCKET_NAME} bytes, or data.num_workers=0"
    )


def _start_quietly(worker: int) -> None:  # noqa: ARG001
    """Prepare a loader process: torch itself has set one thread.

    Batches are handed over by threads. One that fails leaves a batch out, for which the main
    process would wait for ever; so the process ends, and the main one is told of that.
    """
    signals.ignore()
    sys.excepthook = _end_loudly
    threading.excepthook = lambda failed: _end_loudly(
        failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback
    )
    queues.Queue._on_queue_feeder_error = staticmethod(_not_handed_over)  # type: ignore[attr-defined]


def _not_handed_over(error: BaseException, batch: Any) -> None:  # noqa: ARG001
    _end_loudly(type(error), error, error.__traceback__)


def _end_loudly(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """End this process, and say why.

    Stay silent if the main process is gone while a batch is handed over: it says so itself.
    """
    if issubclass(kind, (ConnectionError, EOFError)):
        return
    if told := cause(error):
        print(f"error: {told}", file=sys.stderr)
    else:
        traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)
