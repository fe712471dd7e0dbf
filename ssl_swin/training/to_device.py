"""Copies a batch to the GPU while the step before is computed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_swin.data.batches.batch import Batch


def moved(batch: Batch, to_device: Callable[[Tensor], Tensor]) -> Batch:
    """Move a batch; `erased` stays, and `ids` are its `index`, here: so nobody asks the device.

    Who writes down which images were used, or must know how many pixels to write, would wait.
    """
    here = {"ids": batch["index"]} | {n: batch[n] for n in batch if n == "erased"}
    return {name: to_device(value) for name, value in batch.items() if name not in here} | here


class Copy(NamedTuple):
    """A batch on its way to a GPU."""

    batch: Batch
    done: torch.cuda.Event


class Copies:
    """Copies batches, out of pinned memory, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def begin(self, batch: Batch) -> Copy:
        """Begin a copy, from any thread; wait for nothing."""
        with torch.cuda.stream(self.stream):
            there = moved(batch, lambda value: value.to(self.device, non_blocking=True))
            return Copy(there, self.stream.record_event())

    def end(self, copy: Copy) -> Batch:
        """Return the batch; what is computed from now on waits for it, on the GPU."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copy.done)
        for value in copy.batch.values():
            if value.is_cuda:
                value.record_stream(computing)  # its memory is not the other stream's until then
        return copy.batch
