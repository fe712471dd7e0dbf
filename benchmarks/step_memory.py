"""How much memory a side of `step.py` takes, without what other sides have."""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch
from sides import build, build_ours, draw_given
from torch import Tensor
from train_step import TrainStep

from ssl_swin.main_memory import peak_resident_bytes

STEPS = 3


class Memory(NamedTuple):
    """Bytes of one side."""

    kept: int | None  # by the forward for the backward; None if it is compiled, and does not tell
    peak: int  # on a CPU, resident in a process of its own; on a GPU, on top of what is held


def in_own_process(name: str, options: argparse.Namespace) -> Memory:
    """Take some steps of a side in a process that does nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_memory, name, options).result()


def _memory(name: str, options: argparse.Namespace) -> Memory:
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    ours = build_ours(options.model, options.img_size, options.window_size)
    given = draw_given(ours, options.batch, device)
    network = build(name, ours, device)
    del ours
    step = TrainStep(network, given, options.precision == "bf16")
    for _ in range(STEPS):
        step()
    peak = peak_resident_bytes()
    return Memory(kept_bytes(step), peak)


def kept_bytes(step: TrainStep) -> int:
    """Return the bytes that the forward keeps for the backward, beside parameters and images.

    Each storage counts once.
    """
    own = [*step.network.parameters(), *step.network.buffers(), *step.given]
    there = {tensor.untyped_storage().data_ptr() for tensor in own}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = step.loss()  # held until all is counted, so that no two have one address
    found = sum(num for address, num in kept.items() if address not in there)
    del loss
    return found
