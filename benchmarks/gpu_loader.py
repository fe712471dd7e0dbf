"""What the loader hands to a device, for `gpu.py`."""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from gpu_limits import synchronize
from pipelines import Cycle, ours
from shards import prepare

from ssl_swin.data.batches.loader import loader

IMG_SIZE = 192
BATCH = 128


def time_loader(device: torch.device, num_images: int, workers: int, seconds: float) -> list[str]:
    """Read, decode, crop and copy ImageNet-like JPEGs to the device; return lines of Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        about = prepare(argparse.Namespace(out=out, photos=None, images=num_images))
        batch = min(BATCH, num_images)
        lines = []
        for name in sorted(path.parent.name for path in out.glob("*/index.json")):
            each_s = _seconds_of_a_batch(out / name, batch, device, workers, seconds)
            lines.append(
                f"- {name}: {batch / each_s:.0f} images/s to the device with {workers} loader "
                f"processes, {batch / each_s / max(1, workers):.0f} each; batches of {batch}, "
                f"{IMG_SIZE} px"
            )
    return [*about, *lines]


def _seconds_of_a_batch(
    folder: Path, batch: int, device: torch.device, workers: int, seconds: float
) -> float:
    """Return the mean, after two batches of each process that are not counted."""
    stream, skipped = ours(folder, IMG_SIZE), 2 * max(1, workers)
    shares = Cycle(len(stream), batch, passes=100_000 // len(stream))
    count, began = 0, 0.0
    for count, found in enumerate(loader(stream, shares, workers)):
        there = {name: value.to(device, non_blocking=True) for name, value in found.items()}
        assert there["image"].device.type == device.type
        if count == skipped:
            synchronize(device)
            began = time.perf_counter()
        elif count > skipped + 2 and time.perf_counter() - began > seconds:
            break
    synchronize(device)
    return (time.perf_counter() - began) / (count - skipped)
