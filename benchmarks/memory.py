"""Does streaming leak? Reads batches for some minutes and watches the memory of all processes.

What counts is the proportional set size of this process and its loader workers together, without
pages of files: what several of them share counts once. Libraries are left out, because their share
depends on who else on the machine runs the same ones.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.transforms import TrainTransform

GROWN = 1.05  # the last quarter's median over the first's, from which on it counts as growth
NUM_SHARDS, SHARD_SAMPLES = 300, 40  # more shards than are kept open or mapped
BROKEN_EVERY = 97


def make_shards(folder: Path) -> None:
    """Write photos of noise of several kinds and sizes, some of them broken."""
    draw = np.random.default_rng(0)
    kinds = [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")]
    photos = []
    for place in range(60):
        pixels = draw.integers(0, 256, (4 + place % 7, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((160 + 4 * place, 200), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, kinds[place % 3][1])
        photos.append((kinds[place % 3][0], buffer.getvalue()))
    place = 0
    for shard in range(NUM_SHARDS):
        with webdataset.TarWriter(str(folder / f"train-{shard:06d}.tar")) as tar:
            for _ in range(SHARD_SAMPLES):
                extension, data = photos[place % len(photos)]
                data = data[: len(data) // 2] if place % BROKEN_EVERY == 0 else data
                tar.write({"__key__": f"{place:06d}", extension: data})
                place += 1


def memory_mib() -> list[float]:
    """Anonymous and shared memory of this process and each of its children, MiB."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = ["self", *(pid for task in tasks for pid in task.read_text().split())]
    return [_memory_kib(Path(f"/proc/{pid}/smaps_rollup").read_text()) / 1024 for pid in pids]


def _memory_kib(text: str) -> int:
    fields = (line.split() for line in text.splitlines())
    return sum(int(words[1]) for words in fields if words[0] in ("Pss_Anon:", "Pss_Shmem:"))


def watch(loader: DataLoader, minutes: float, every_s: float) -> list[float]:
    """Read batches and print and return the memory at each interval, in MiB."""
    began = time.monotonic()
    samples, due, totals = 0, every_s, []
    for batch in loader:
        samples += len(batch["index"])
        elapsed = time.monotonic() - began
        if elapsed >= due:
            parts = memory_mib()
            totals.append(sum(parts))
            each = " + ".join(f"{part:.0f}" for part in parts)
            print(f"{elapsed / 60:6.1f} min {samples:9,} images {totals[-1]:7.1f} MiB = {each}")
            due += every_s
        if elapsed >= 60 * minutes:
            break
    return totals


def verdict(totals: list[float]) -> str:
    """Compare the first quarter with the last."""
    quarter = max(1, len(totals) // 4)
    first, last = median(totals[:quarter]), median(totals[-quarter:])
    grew = "grew" if last > GROWN * first else "did not grow"
    return f"memory {grew}: {first:.1f} MiB in the first quarter, {last:.1f} MiB in the last"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shards", help="of your own; left out, small ones are made")
    options = parser.parse_args(sys.argv[1:])
    if 60 * options.minutes < 4 * options.every:
        parser.error("--minutes must hold four looks, or there are no quarters to compare")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        if options.shards is None:
            make_shards(Path(name))
        shards = open_shards(options.shards or name)
        order = SetOrder(shards.counts, 0, options.batch, num_lanes=options.batch)
        stream = ImageStream(shards, TrainTransform(0, 96, (0.2, 1.0)), 96, in_chans=3)
        loader = DataLoader(
            stream,
            batch_sampler=Shares(order, 0, 1, 0, sys.maxsize),  # type: ignore[arg-type]
            collate_fn=collate,  # type: ignore[arg-type]
            num_workers=options.workers,
        )
        totals = watch(loader, options.minutes, options.every)
    print(verdict(totals))


if __name__ == "__main__":
    main()
