"""Where the time of a step goes, by part, for `gpu.py`."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from gpu_limits import synchronize
from torch.profiler import ProfilerActivity, profile

STEPS = 3
# part -> how names of its kernels (or operations, on the CPU) look; the first that fits counts
PARTS = {
    "compiled by Triton": r"triton",
    "norm": r"layer_?norm|gammabeta",
    "attention, ours": r"^(forward|backward)(_of_[a-z]+)?$|attend_in_windows",
    "attention, fused": r"fmha|flash|mem_eff|scaled_dot_product|sdpa",
    "optimiser and clipping": r"adam|multi_tensor|foreach|lpnorm|_norm_|linalg_vector_norm",
    "matrix products": r"gemm|nvjet|cutlass|xmma|cublas|wgmma|::mm|::addmm|::bmm|::baddbmm",
    "convolutions": r"conv",
    "softmax": r"softmax",
    "GELU": r"gelu",
    "windows: rolls, copies, changes of type": r"roll|copy|memcpy|memset|cat|clone|index|gather",
    "sums": r"reduce|::sum|::mean",
    "elementwise": r"elementwise|::add|::mul|::sub|::div|::fill|where|abs|sgn|::pow|::sqrt",
}
OTHER = "other"


def part_of(name: str) -> str:
    """Return the part that a kernel or an operation belongs to."""
    fits = (part for part, look in PARTS.items() if re.search(look, name, re.IGNORECASE))
    return next(fits, OTHER)


def profile_step(step: Callable[[], Any], device: torch.device) -> list[str]:
    """Take some steps; return a table of the device's time by part, with the largest of each."""
    for _ in range(STEPS):
        step()
    synchronize(device)
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        synchronize(device)
    parts: dict[str, float] = defaultdict(float)
    largest: dict[str, tuple[float, str]] = {}
    for event in found.key_averages():
        us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        part = part_of(event.key)
        parts[part] += us / STEPS / 1000
        largest[part] = max(largest.get(part, (0.0, "")), (us, event.key))
    whole = sum(parts.values()) or 1.0
    lines = ["| part | ms a step | share | largest of it |", "|---|---|---|---|"]
    for part, ms in sorted(parts.items(), key=lambda item: -item[1]):
        name = re.sub(r"[|`<>]", " ", largest[part][1])[:70]
        lines.append(f"| {part} | {ms:.2f} | {100 * ms / whole:.1f} % | `{name}` |")
    return [*lines, f"| sum | {whole:.2f} | | |"]
