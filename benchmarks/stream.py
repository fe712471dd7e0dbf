"""Times the input side: this package's stream beside other loaders, on the same photographs.

All loaders crop, resize and flip at random, to the same size. They take turns, batch by batch, in
one process and one thread; then again with loader processes, run by run.

Usage: python benchmarks/stream.py --out FOLDER [--photos FOLDER] [--rounds 8] [--save FILE.md]
"""

import argparse
import importlib
import io
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, repeat
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg
import torch
from loaders import (
    RATIO,
    SCALE,
    Batches,
    Official,
    dali,
    litdata,
    plain_webdataset,
)
from machine import commit, num_cores, processor
from photographs import INSTALL, make_jpegs, photographs
from PIL import Image
from rich.progress import Progress
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.create import create
from ssl_swin.shard_tools.doctor import all_shares
from ssl_swin.shard_tools.timing import time_stages

SHORT_SIDE = 256
NUM_WORKERS = 2
WORKER_PASSES = 4  # over all images, in each round with workers
NOT_MEASURED = {  # peer -> why it is never measured here
    "spdl": "needs FFmpeg's libraries",
    "streaming": "mosaicml-streaming holds NumPy back at 2.1, so it cannot be installed beside",
}
PACKAGES = (
    "torch",
    "torchvision",
    "pillow",
    "simplejpeg",
    "webdataset",
    "litdata",
    "nvidia-dali-cuda130",
)


def prepare(options: argparse.Namespace) -> list[str]:
    """Make what is read, once, and describe it.

    Raises:
        ValueError: If there is nothing to make it of, or the folder holds something else.
    """
    jpegs = options.out / "photographs" / "all"
    sources, source = photographs(options.photos)
    made_of = options.out / "made_of.txt"  # written last, so that a half-made folder has none
    what = f"{options.images} JPEGs cut from {source}\n"
    if not made_of.exists():
        shutil.rmtree(jpegs, ignore_errors=True)
        make_jpegs(sources, jpegs, options.images)
        made_of.write_text(what, encoding="utf-8")
    elif (there := made_of.read_text(encoding="utf-8")) != what:
        raise ValueError(
            f"{options.out} holds {there.strip()}, not {what.strip()}; give another --out"
        )
    for name, short_side in (("originals", None), (f"short-side-{SHORT_SIDE}", SHORT_SIDE)):
        if not (options.out / name / "index.json").exists():
            create(
                jpegs.parent,
                options.out / name,
                PackOptions(samples_per_shard=128, short_side=short_side),
                num_workers=1,
            )
    lines = [f"- cut from {source}"]
    for name in ("originals", f"short-side-{SHORT_SIDE}"):
        data = list(read_all(options.out / name))
        sizes = [sorted(Image.open(io.BytesIO(each)).size) for each in data]
        short, long = np.median(sizes, axis=0)
        mean_bytes = np.mean([len(each) for each in data])
        lines.append(
            f"- {name}: {len(data)} JPEGs, {long:.0f} x {short:.0f} pixels (median), "
            f"{mean_bytes / 1e3:.0f} kB (mean)"
        )
    return lines


def read_all(folder: Path) -> Iterator[bytes]:
    shards = open_shards(str(folder))
    reader = ImageStream(shards, TrainTransform(0, 8, SCALE), 8, 3).reader
    for shard, row in zip(*shards.locate(np.arange(shards.num_samples)), strict=True):
        yield reader.read(int(shard), int(row))


def ours(folder: Path, img_size: int, decoder: str = "fast") -> ImageStream:
    transform = TrainTransform(0, img_size, SCALE, RATIO)
    return ImageStream(open_shards(str(folder)), transform, img_size, 3, reading=Reading(decoder))


class Cycle:
    """Batch sampler: all images in the order of the shards, `passes` times."""

    def __init__(self, num: int, batch: int, passes: int) -> None:
        self.draws = [
            Share(epoch, np.arange(start, min(start + batch, num)))
            for epoch in range(passes)
            for start in range(0, num, batch)
        ]

    def __iter__(self) -> Iterator[Share]:
        return iter(self.draws)

    def __len__(self) -> int:
        return len(self.draws)


def one_thread(options: argparse.Namespace) -> tuple[dict[str, Batches], list[str]]:
    """Return every pipeline as an endless stream of batches, and a line for each one missing."""
    out, size, batch = options.out, options.img_size, options.batch
    draws = Cycle(options.images, batch, 1).draws
    small = out / f"short-side-{SHORT_SIDE}"

    def endless(stream: ImageStream) -> Batches:
        return (stream.__getitems__(draw) for draw in chain.from_iterable(repeat(draws)))

    def loaded(make: Callable[[], object]) -> Batches:
        loader = partial(DataLoader, batch_size=batch)
        return chain.from_iterable(loader(make()) for _ in repeat(None))

    def decoding() -> Batches:
        data = list(read_all(out / "originals"))
        while True:
            for start in range(0, len(data), batch):
                yield [simplejpeg.decode_jpeg(each) for each in data[start : start + batch]]

    pipelines = {
        "official (PIL, torchvision)": loaded(lambda: Official(out / "photographs", size)),
        "ours": endless(ours(out / "originals", size)),
        "ours, decoder: pil": endless(ours(out / "originals", size, "pil")),
        f"ours, shards of short side {SHORT_SIDE}": endless(ours(small, size)),
        "webdataset (PIL, torchvision)": loaded(
            lambda: plain_webdataset(out / "originals", size, 1)
        ),
        "nothing but decoding": decoding(),
    }
    makes = {"litdata": partial(litdata, out), "nvidia.dali": partial(dali, out / "originals")}
    missing = []
    for name, make in makes.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            absent = error.name is not None and name.startswith(error.name)
            why = f"is not installed ({INSTALL})" if absent else f"cannot be imported: {error}"
            missing.append(f"- not measured: {name} {why}")
        else:
            pipelines[name] = make(size, batch)
    missing += [f"- not measured: {name} ({why})" for name, why in NOT_MEASURED.items()]
    return pipelines, missing


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


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


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
    parser.add_argument("--out", type=Path, required=True, help="folder for what is read")
    parser.add_argument("--photos", type=Path, help="photographs of your own to cut from")
    parser.add_argument("--images", type=int, default=384, help="JPEGs to make")
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
        options.save.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
        print(f"saved: {options.save}")


if __name__ == "__main__":
    main()
