"""Times pieces of a run on this machine for `ranks.py`, and has processes for `scaling.py`."""

import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.training.checkpoint_file import FORMAT, read_checkpoint, write_checkpoint
from ssl_swin.training.preemption import Agreement

WARMUP, HOUR = 20, timedelta(hours=1)


def in_processes(target: Callable[..., None], num_processes: int, *arguments: Any) -> Any:
    """Run ``target(rank, num_processes, port, *arguments, found)``; return what rank 0 puts there.

    The port is free, for the ranks to meet on this machine.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_swin.training.preemption"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found: Any = context.SimpleQueue()
    processes = [
        context.Process(target=target, args=(rank, num_processes, port, *arguments, found))
        for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"{num_processes} processes: one failed")
    return found.get()


def agreement_s(num_processes: int, exchanges: int) -> list[float]:
    """Return the seconds of each exchange of words before a step, on rank 0."""
    return in_processes(_exchange, num_processes, exchanges)


def _exchange(rank: int, num_processes: int, port: int, exchanges: int, found: Any) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, HOUR, num_processes, rank)
    agreement, seconds = Agreement(num_processes, HOUR), []
    for _ in range(WARMUP + exchanges):
        began = time.perf_counter()
        agreement.start([0, 0, 0])  # as Meeting does
        agreement.wait()
        seconds.append(time.perf_counter() - began)
    if rank == 0:
        found.put(seconds[WARMUP:])
    dist.barrier()
    dist.destroy_process_group()


def checkpoint_s(folder: Path, num_bytes: int, rounds: int) -> dict[str, float]:
    """Return the seconds to write, read and copy a checkpoint of so many bytes."""
    path = folder / "timed.ckpt"
    tensors = {str(i): torch.rand(num_bytes // 4 // 100) for i in range(100)}
    state = {"format": FORMAT, "step": 0, "model": tensors}
    try:
        write = [_timed(lambda: write_checkpoint(path, state)) for _ in range(rounds)]
        read = [_read_s(path) for _ in range(rounds)]
    finally:
        path.unlink(missing_ok=True)
    copy = [_timed(lambda: [one.clone() for one in tensors.values()]) for _ in range(rounds)]
    return {"write": median(write), "read": median(read), "copy": median(copy)}


def _read_s(path: Path) -> float:
    """Time one reading, from the disk as far as the system lets go of what it keeps in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _timed(lambda: read_checkpoint(path))


def imports_s() -> float:
    """Return the processor's seconds for Python and all imports of a life."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import ssl_swin.runs.life"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def order_s(rounds: int) -> float:
    """Return the seconds to open ImageNet's order and to find the share of a step within."""

    def find() -> None:
        order = SetOrder(np.full(1000, 1281), 0, 2048, 64)
        order.share(order.steps_per_epoch * 3 // 2, 5, 64)

    return median(_timed(find) for _ in range(rounds))


def _timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
