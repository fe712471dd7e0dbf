"""What a training process takes of its device's memory: how much at most, and when it ran out."""

import torch
from pytorch_lightning import Trainer

from ssl_swin import main_memory
from ssl_swin.machine import as_text

Peak = dict[str, int]  # bytes; allocated and reserved on a GPU, resident in main memory
# What torch says, and what libraries say of which torch makes plain errors.
_WORDS = ("out of memory", "_STATUS_ALLOC_FAILED")
_MAIN_MEMORY = "DefaultCPUAllocator: can't allocate memory"
_ELSEWHERE = "Caught "  # how torch begins what failed in a loader process, or its own threads


def peak(device: torch.device) -> Peak:
    """Return the most that this process held at once since `reset_peak`.

    On a GPU these are torch's two counts: `allocated` to tensors, and `reserved` from the device
    for them. On the CPU it is what was `resident` of the whole process, since it began.
    """
    if device.type != "cuda":
        return {"resident": main_memory.peak_resident_bytes()}
    allocated, reserved = torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved
    return {"allocated": allocated(device), "reserved": reserved(device)}


def reset_peak(device: torch.device) -> None:
    """Count peaks from now on; those of the CPU are always the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def largest_peak(trainer: Trainer) -> Peak:
    """Return the largest peak of all ranks, which all call this; waits for the device."""
    device = trainer.strategy.root_device
    mine = peak(device)
    values = torch.tensor([*mine.values()], device=device)
    return dict(zip(mine, trainer.strategy.reduce(values, reduce_op="max").tolist(), strict=True))


def points_of(found: Peak) -> dict[str, float]:
    """Return a peak as points of a curve, in GB."""
    return {f"memory/peak_{name}_gb": value / 1e9 for name, value in found.items()}


def total_bytes(device: torch.device) -> int:
    """Return how much memory a device has."""
    if device.type != "cuda":
        return main_memory.total_bytes()
    return torch.cuda.mem_get_info(device)[1]


def taken_by_others(device: torch.device) -> int:
    """Return what of a device's memory is not torch's in this process.

    On a GPU that is what other processes hold, and what CUDA and NCCL hold for this one.
    """
    if device.type != "cuda":
        total, mine = main_memory.total_bytes(), main_memory.resident_bytes()
        return max(0, total - main_memory.available_bytes() - mine)
    free, total = torch.cuda.mem_get_info(device)
    return max(0, total - free - torch.cuda.memory_reserved(device))


def name_of(device: torch.device) -> str:
    """Name a device for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "main memory"


def described(found: Peak, device: torch.device) -> str:
    """Say a peak for people, and what there is."""
    taken = ", ".join(f"{as_text(value)} {name}" for name, value in found.items())
    return f"{taken} at the peak, of {as_text(total_bytes(device))} ({name_of(device)})"


def ran_out(error: BaseException, on_gpu: bool) -> bool:
    """Return whether an error says that training took more memory than its device has.

    What failed in a loader process is not meant, nor main memory where training is on a GPU.
    """
    text = str(error)
    if text.startswith(_ELSEWHERE):
        return False
    if isinstance(error, MemoryError) or _MAIN_MEMORY in text:
        return not on_gpu
    known = isinstance(error, RuntimeError) and any(word in text for word in _WORDS)
    return known or isinstance(error, torch.OutOfMemoryError)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
