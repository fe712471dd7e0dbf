"""What a device can do at most, measured, and what a step asks of it, counted."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_swin.models.flops import count_flops
from ssl_swin.training.trainer import allow_tf32
from ssl_swin.training.utilisation import peak_flops

MOVES_NOTHING = {"_unsafe_view", "detach", "empty", "empty_like", "empty_strided", "new_empty"}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def published_peak(device: torch.device) -> float | None:
    """Return FLOP/s of bf16 products that the maker names for this card, None if not known here."""
    return peak_flops(torch.cuda.get_device_name(device), "bf16") if device.type == "cuda" else None


def seconds_of(act: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """Return how long it takes once: the mean of several, after three that are not counted."""
    for _ in range(3):
        act()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(times):
        act()
    synchronize(device)
    return (time.perf_counter() - began) / times


def matrix_peak(
    device: torch.device, dtype: torch.dtype, side: int, rounded: bool = False, times: int = 10
) -> float:
    """Return FLOP/s of a square product of normal numbers."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    allow_tf32(rounded)
    took = seconds_of(lambda: a @ b, device, times)
    allow_tf32(False)
    return 2 * side**3 / took


def copy_bandwidth(device: torch.device) -> float:
    """Return bytes/s of a copy within the device's memory, read and written both counted."""
    num = 2**31 if device.type == "cuda" else 2**24
    source = torch.zeros(num, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * num / seconds_of(lambda: target.copy_(source), device)


def transfer_bandwidth(device: torch.device) -> float | None:
    """Return bytes/s from pinned memory of the machine to the device; None without one."""
    if device.type != "cuda":
        return None
    source = torch.zeros(2**28, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(source, device=device)
    return len(source) / seconds_of(lambda: target.copy_(source, non_blocking=True), device)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, as if no cache kept any between them."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        returned = [one.alias_info for one in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in returned)
        if not view and func._schema.name.rpartition("::")[2] not in MOVES_NOTHING:
            self.bytes += sum(map(_num_bytes, tree_leaves((args, kwargs, result))))
        return result


def _num_bytes(value: Any) -> int:
    if not isinstance(value, Tensor):
        return 0
    # What is expanded is read from the little that is stored.
    return min(value.numel() * value.element_size(), value.untyped_storage().nbytes())


def count_network_flops(network: nn.Module, given: Iterable[Tensor]) -> int:
    """Return the operations of forward and backward of what returns a loss, without taking them."""
    network = network.to("meta")
    there = [one.to("meta") for one in given]
    return count_flops(lambda: network(*there).backward())


def count_bytes(step: Callable[[], Any]) -> int:
    """Return the bytes that a step's operations read and write."""
    with Traffic() as traffic:
        step()
    return traffic.bytes
