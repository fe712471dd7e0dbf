"""What `gpu.py` has found so far."""

from dataclasses import dataclass, field

import torch
from gpu_curves import Curves
from gpu_steps import Case, Timing
from machine import processor

Counts = tuple[float, float, float]  # FLOPs of an image, bytes of an image, bytes of a step


@dataclass
class Row:
    """A case and what came of it."""

    case: Case
    timing: Timing | None = None
    told: str = ""  # why there is none
    counts: Counts | None = None


@dataclass
class Day:
    """All that was found so far."""

    device: torch.device
    limits: dict[str, float | None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    sections: dict[str, list[str]] = field(default_factory=dict)
    curves: Curves | None = None
    left_out: list[str] = field(default_factory=list)


def hardware(device: torch.device) -> str:
    """Name what it ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def shares(row: Row, day: Day) -> dict[str, float | None]:
    """Return images/s, and the used parts of what the device can do, where they are known."""
    case, timing = row.case, row.timing
    assert timing is not None
    found: dict[str, float | None] = {"images/s": case.batch / timing.step_s}
    if row.counts is not None:
        each_flops, each_bytes, step_bytes = row.counts
        flops = each_flops * case.batch / timing.step_s
        moved = (each_bytes * case.batch + step_bytes) / timing.step_s
        peak = day.limits.get(case.precision) or day.limits["bf16"]
        published, memory = day.limits["published"], day.limits["memory"]
        half = case.precision not in ("fp32", "tf32")
        found["mfu"] = flops / published if published and half else None
        found["matrix"] = flops / peak if peak else None
        found["memory"] = moved / memory if memory else None
    return found
