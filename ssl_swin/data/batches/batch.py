"""A batch: named tensors in one piece of memory, which a loader process hands over as one.

Each tensor that changes processes costs a file descriptor, a handshake over a socket and two
context switches; the five of a batch of 32 images cost as much as decoding one of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

Batch = dict[str, Tensor]
Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def empty(layout: Layout) -> Batch:
    """Return tensors to be written into; in a loader process, in memory that others can map.

    Args:
        layout: Shape and type of each; those with the larger elements first, for alignment.
    """
    num_bytes = sum(_num_bytes(*each) for each in layout.values())
    if get_worker_info() is None:
        memory = torch.empty(num_bytes, dtype=torch.uint8)
    else:  # as torch's own default_collate
        shared = torch.UntypedStorage._new_shared(num_bytes)
        memory = torch.empty(0, dtype=torch.uint8).set_(shared)
    return _views(memory, layout)


def collate(batch: Batch) -> "Batch | Parcel":
    """Hand on what has been assembled already."""
    return batch if get_worker_info() is None else Parcel(batch)


@dataclass(frozen=True)
class Parcel:
    """A batch on its way out of a loader process; what arrives is the plain `Batch`.

    Attributes:
        batch: Of `empty`, perhaps with other tensors beside.
    """

    batch: Batch

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[object, ...]]:
        """Pickle the memory, not the views."""
        memory = next(iter(self.batch.values())).untyped_storage()
        layout, others = {}, {}
        for name, tensor in self.batch.items():
            if tensor.untyped_storage().data_ptr() == memory.data_ptr():
                layout[name] = tuple(tensor.shape), tensor.dtype
            else:
                others[name] = tensor
        return _open, (torch.empty(0, dtype=torch.uint8).set_(memory), layout, others)


def _open(memory: Tensor, layout: Layout, others: Batch) -> Batch:
    return _views(memory, layout) | others


def _views(memory: Tensor, layout: Layout) -> Batch:
    batch, start = {}, 0
    for name, (shape, dtype) in layout.items():
        stop = start + _num_bytes(shape, dtype)
        batch[name] = memory[start:stop].view(dtype).view(shape)
        start = stop
    return batch


def _num_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
