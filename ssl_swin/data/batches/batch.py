"""A batch: named tensors in one piece of memory, which a loader process hands over as one.

Each tensor that goes to another process costs a file descriptor, a handshake over a socket and two
context switches. The five tensors of a batch of 32 images cost as much as decoding one image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

Batch = dict[str, Tensor]
Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def empty(shapes: Shapes) -> Batch:
    """Return tensors to write into; a loader process gets memory that others can map.

    Those with the larger elements must come first, for alignment.
    """
    num_bytes = sum(_num_bytes(*each) for each in shapes.values())
    if get_worker_info() is None:
        memory = torch.empty(num_bytes, dtype=torch.uint8)
    else:  # as torch's own default_collate
        shared = torch.UntypedStorage._new_shared(num_bytes)
        memory = torch.empty(0, dtype=torch.uint8).set_(shared)
    return _views(memory, shapes, {})


def collate(batch: Batch) -> "Batch | Parcel":
    """Return a batch as it leaves the dataset: it is stacked already."""
    return batch if get_worker_info() is None else Parcel(batch)


@dataclass(frozen=True)
class Parcel:
    """A batch on its way out of a loader process; what arrives is the plain `Batch`."""

    batch: Batch
    """What `empty` returned, perhaps with other tensors beside."""

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[object, ...]]:
        """Pickle the memory in place of its views."""
        memory = next(iter(self.batch.values())).untyped_storage()
        shapes, others = {}, {}
        for name, tensor in self.batch.items():
            if tensor.untyped_storage().data_ptr() == memory.data_ptr():
                shapes[name] = tuple(tensor.shape), tensor.dtype
            else:
                others[name] = tensor
        return _views, (torch.empty(0, dtype=torch.uint8).set_(memory), shapes, others)


def _views(memory: Tensor, shapes: Shapes, others: Batch) -> Batch:
    batch, start = {}, 0
    for name, (shape, dtype) in shapes.items():
        stop = start + _num_bytes(shape, dtype)
        batch[name] = memory[start:stop].view(dtype).view(shape)
        start = stop
    return batch | others


def _num_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
