"""Times the input side: this package's stream beside other loaders, on the same photographs.

All loaders crop, resize and flip at random, to the same size. They take turns, batch by batch, in
one process and one thread; then again with loader processes, run by run.

Usage: python benchmarks/stream.py --out FOLDER [--photos FOLDER] [--rounds 8] [--save FILE.md]
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from figures import save, spread
from loaders import Batches, Official, plain_webdataset
from machine import commit, num_cores, processor
from photographs import add_options
from pipelines import Cycle, one_thread, ours
from rich.progress import Progress
from shards import SHORT_SIDE, prepare
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import collate
from ssl_swin.data.order.lanes import Share
from ssl_swin.shard_tools.doctor import all_shares
from ssl_swin.shard_tools.timing import time_stages

NUM_WORKERS = 2
WORKER_PASSES = 4  # over all images, in each round with workers
PACKAGES = (
    "torch",
    "torchvision",
    "pillow",
    "simplejpeg",
    "webdataset",
    "litdata",
    "nvidia-dali-cuda130",
)


def time_one_thread(
    pipelines: dict[str, Batches], options: argparse.Namespace, progress: Progress
) -> dict[str, list[float]]:
    """Return ms per image of every round; a round is all images, and the first is not counted."""
    num_batches = -(-options.images // options.batch)
    rounds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in progress.track(range(options.rounds + 1), description="one thread"):
        seconds = dict.fromkeys(pipelines, 0.0)
        for _ in range(num_batches):
            for name, batches in pipelines.items():
                began = time.perf_counter()
                next(batches)
                seconds[name] += time.perf_counter() - began
        for name, value in seconds.items():
            rounds[name].append(1e3 * value / options.images)
    return {name: values[1:] for name, values in rounds.items()}


def time_workers(options: argparse.Namespace, progress: Progress) -> dict[str, list[float]]:
    """Return ms per image of every round, by the clock, with `NUM_WORKERS` loader processes.

    Two batches of each process at both ends are not counted: the processes start and end there.
    """
    out, size, batch = options.out, options.img_size, options.batch // 2
    passes = WORKER_PASSES
    loader = partial(DataLoader, num_workers=NUM_WORKERS, worker_init_fn=_one_thread)
    web = partial(plain_webdataset, out / "originals", size, passes)
    makes: dict[str, Callable[[], DataLoader]] = {
        "official (PIL, torchvision)": lambda: loader(
            Official(out / "photographs", size, passes), batch_size=batch
        ),
        "webdataset (PIL, torchvision)": lambda: loader(web().batched(batch), batch_size=None),
        "ours": lambda: loader(
            ours(out / "originals", size),
            batch_sampler=Cycle(options.images, batch, passes),
            collate_fn=collate,
        ),
    }
    rounds: dict[str, list[float]] = {name: [] for name in makes}
    for _ in progress.track(range(options.rounds), description=f"{NUM_WORKERS} processes"):
        for name, make in makes.items():
            came = [(time.perf_counter(), _num_images(found)) for found in make()]
            came = came[2 * NUM_WORKERS : -2 * NUM_WORKERS]
            num = sum(num for _, num in came[1:])
            rounds[name].append(1e3 * (came[-1][0] - came[0][0]) / num)
    return rounds


def _num_images(batch: object) -> int:
    return len(batch["index"] if isinstance(batch, dict) else batch[0])


def _one_thread(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)


def table(rounds: dict[str, list[float]], against: str) -> list[str]:
    """Say medians, spread, and how many times as fast as one of them, round by round."""
    lines = [
        f"| pipeline | images/s | ms an image: median (least to most) | times {against} |",
        "|---|---|---|---|",
    ]
    for name, ms in rounds.items():
        ratios = [b / a for a, b in zip(ms, rounds[against], strict=True)]
        lines.append(f"| {name} | {1e3 / median(ms):.0f} | {spread(ms)} | {spread(ratios)} |")
    return lines


def where_the_time_goes(options: argparse.Namespace) -> list[str]:
    lines = ["| shards | read | header and draw | decode | resize and write | all |"]
    lines.append("|---|---|---|---|---|---|")
    for name in ("originals", f"short-side-{SHORT_SIDE}"):
        stream = ours(options.out / name, options.img_size)
        one = time_stages(stream, all_shares(stream.shards, len(stream.shards.counts)), seconds=3)
        ms = [1e3 * seconds / one.num_images for seconds in one.stages_s.values()]
        lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in [*ms, sum(ms)])} |")
    return lines


def differences(options: argparse.Namespace) -> list[str]:
    """Say how far the fast way is from the reference, on the photographs."""
    lines = []
    for img_size, scale in ((options.img_size, "full scale"), (64, "half scale")):
        draw = Share(0, np.arange(options.images))
        fast, reference = (
            ours(options.out / "originals", img_size, decoder)
            .__getitems__(draw)["image"]
            .numpy()
            .astype(np.int64)
            for decoder in ("fast", "pil")
        )
        error = abs(fast - reference)
        psnr = 10 * np.log10(255**2 / (error**2).mean((1, 2, 3)).clip(1e-9))
        lines.append(
            f"- {img_size} pixels, {scale}: at most {error.max()} of 255, {error.mean():.3f} on "
            f"average; PSNR {np.median(psnr):.1f} dB (median), {psnr.min():.1f} (least)"
        )
    return lines


def machine() -> list[str]:
    versions = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return [
        f"- {processor()}, {num_cores()} cores, load average {load:.2f} at the end",
        f"- {', '.join(versions)}",
    ]


def report(options: argparse.Namespace) -> list[str]:
    """Measure everything on what `prepare` made, and say it as lines of Markdown."""
    with Progress() as progress:
        workers = time_workers(options, progress)  # first: DALI's threads must not be forked
        pipelines, missing = one_thread(options)
        alone = time_one_thread(pipelines, options, progress)
    decoding, all_of_it = (median(alone[name]) for name in ("nothing but decoding", "ours"))
    official = median(alone["official (PIL, torchvision)"])
    return [
        *machine(),
        f"- crops of {options.img_size} pixels, batches of {options.batch}; {options.rounds} "
        f"rounds of {options.images} images each, in turns",
        "- official and webdataset yield normalised floats, as their users do; the others uint8",
        "",
        "## One thread",
        "",
        *table(alone, "official (PIL, torchvision)"),
        "",
        *missing,
        "",
        f"## {NUM_WORKERS} loader processes",
        "",
        *table(workers, "webdataset (PIL, torchvision)"),
        "",
        "## Where the time goes, ms an image, one thread",
        "",
        *where_the_time_goes(options),
        "",
        f"Decoding alone is {decoding / all_of_it:.0%} of what an image takes, so "
        f"{official / decoding:.2f} times the official pipeline is the limit without leaving out "
        "pixels of the file. A JPEG's bits must all be read to find any pixel, whatever the crop.",
        "",
        "## How far `fast` is from `pil`",
        "",
        *differences(options),
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--img-size", type=int, default=192, help="pixels")
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--rounds", type=int, default=8, help="counted rounds")
    parser.add_argument("--save", type=Path, help="Markdown file to write")
    options = parser.parse_args(arguments)
    if options.batch < 2 or options.rounds < 1:
        parser.error("--batch must be 2 or more, --rounds 1 or more")
    least = -(-(4 * NUM_WORKERS + 2) * (options.batch // 2) // WORKER_PASSES)
    if options.images < least:
        parser.error(
            f"--images must be {least} or more at --batch {options.batch}: no batch counts"
        )
    return options


def main() -> None:
    options = parse(sys.argv[1:])
    torch.set_num_threads(1)
    try:
        about = prepare(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    lines = [*about, *report(options)]
    print("\n".join(lines))
    if options.save is not None:
        photos = "" if options.photos is None else " --photos FOLDER_OF_PHOTOGRAPHS"
        command = (
            f"python benchmarks/stream.py --out FOLDER{photos} --images {options.images} "
            f"--img-size {options.img_size} --batch {options.batch} --rounds {options.rounds}"
        )
        head = ["# The input side", "", f"Commit {commit()}. To repeat: `{command}`", ""]
        save(options.save, [*head, *lines])


if __name__ == "__main__":
    main()
