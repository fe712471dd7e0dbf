"""Says whether a run could train on some shards, and whether this machine feeds it fast enough."""

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.need import cache_line, least_cache_bytes
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.lanes import MAX_DEFAULT_LANES, Dealing
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.open import open_order
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, sides
from ssl_swin.data.pixels.img_size import require_img_size
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.machine import FACTS_BYTES, LoaderNeeds, raise_file_limit, shortages
from ssl_swin.phases import without_bar
from ssl_swin.shard_tools.look import Expected, Kind, look_at
from ssl_swin.shard_tools.timing import OneCore, time_stages, time_workers
from ssl_swin.shard_tools.verify import describe_labels

SLOW_STORAGE = 0.25  # part of the time; a run that reads for longer needs faster storage
TOO_LARGE = 1.25  # short side over what crops need; above it smaller copies pay
BATCH_SIZE = 64  # while timing; its value makes no difference
REMOTE_SAMPLES = 4096  # the fewest remote shards that hold so many are read again and again


@dataclass(frozen=True)
class DoctorSettings:
    """What to read, how to read it, and what training takes."""

    data: str
    """A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL of these. For
    remote shards, the least cache that a run here needs is told first."""
    img_size: int | tuple[int, int] = 192
    """Both sides of the network's input, or its rows and columns, pixels."""
    crop_scale: tuple[float, float] = (0.67, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How crops are resized."""
    decoder: Literal["fast", "pil"] = "fast"
    """How JPEGs are decoded, as `data.decoder`."""
    max_pixels: int = MAX_PIXELS
    """Most pixels of an image, as `data.max_pixels`."""
    nodata: float | None = None
    """Of numbers as they are: the one that stands for none, as `data.nodata`."""
    channel_axis: Literal["first", "last"] | None = None
    """Where a .npy has its channels, as `data.channel_axis`; left out, its sizes tell."""
    labels: str | None = None
    """CSV or Parquet of keys and labels, as `data.labels`: which images get one is told, too."""
    label_field: str = "label"
    """Field of the .json member that holds the class, as `data.label_field`."""
    batch: int = 128
    """Images that each training process takes in one step, 1 or more."""
    step_s: float = 0.25
    """Seconds of one step; `ssl-swin pretrain ... --dry-run` prints them."""
    images_per_s: float | None = None
    """Images per second that all training processes on this machine take together, in place of
    `step_s`."""
    processes: int = 1
    """Training processes (GPUs) on this machine."""
    num_workers: int | None = None
    """Loader processes in all, 1 or more; left out, as many as there are cores."""
    num_lanes: int | None = None
    """Lanes of the run, as `data.num_lanes`; left out, as many as it would take."""
    cache_dir: str | None = None
    """Folder for remote shards, as `data.cache_dir`."""
    cache_gb: float | None = None
    """Most gigabytes kept there, as `data.cache_gb`."""
    seconds: float = 6.0
    """Length of each of the two measurements."""

    def __post_init__(self) -> None:
        rates, counts = ("step_s", "images_per_s", "seconds"), ("processes", "num_workers")
        require_img_size("img_size", self.img_size)
        for name in (*rates, *counts, "batch", "num_lanes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name}={value} must be greater than 0")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise UserError(f"crop_scale={self.crop_scale} must be 0 < smallest <= largest <= 1")

    @property
    def takes(self) -> float:
        """Images per second that training takes from the whole machine."""
        return self.images_per_s or self.batch / self.step_s * self.processes

    def workers(self, images_per_s: float) -> int:
        """Return the loader processes of each training process, if each brings `images_per_s`."""
        return ceil(self.takes / self.processes / images_per_s)


def doctor(settings: DoctorSettings) -> None:
    """Time how fast this machine reads, decodes and resizes, and say what a run would need.

    Files that were read a short while ago come from memory: on a fresh machine, or with more
    data than memory, storage shows as it is. A few remote shards are fetched before the clock
    starts: this machine is timed, not the network.

    Raises:
        UserError: If the lanes do not fit the batch, or the cache is too small.
        ShardError: If a shard is missing or was changed.
    """
    cores = len(os.sched_getaffinity(0))
    num_workers = settings.num_workers or cores
    cache_dir = None if settings.cache_dir is None else Path(settings.cache_dir)
    shards = open_shards(settings.data, cache_dir, settings.cache_gb)
    for line in describe(shards.left_out, settings.data):
        print(line)
    _tell_cache(shards, settings)
    bands, in_chans = _tell_images(shards, settings)
    itemsize = np.dtype("uint8" if bands is None else bands.dtype).itemsize
    _tell_machine(settings, num_workers, in_chans * itemsize)
    img_size, interpolation = settings.img_size, settings.interpolation
    transform = TrainTransform(0, img_size, settings.crop_scale, interpolation=interpolation)
    reading = Reading(settings.decoder, settings.max_pixels, bands=bands)
    stream = ImageStream(shards, transform, img_size, in_chans=in_chans, reading=reading)
    torch.set_num_threads(1)
    lines = without_bar("timing this machine", lambda: progress.tasks[0].description)
    with Progress(transient=True) as progress, lines:
        task = progress.add_task("fetching shards", total=None)
        shares = all_shares(shards, shards.storage.bring(REMOTE_SAMPLES), settings.num_lanes)
        progress.update(task, description="one core")
        one = time_stages(stream, shares, settings.seconds)
        progress.update(task, description=f"{num_workers} loader processes")
        together = time_workers(stream, shares, num_workers, settings.seconds)
    console = Console()
    console.print(_table(one, together, num_workers, settings))
    for line in advice(one, together / num_workers, settings, cores):
        console.print(f"- {line}", highlight=False)


def _tell_images(shards: ShardSet, settings: DoctorSettings) -> Kind:
    """Print what a run would stumble over, in images and labels; return what most images hold."""
    if settings.labels is not None:
        asked = Asked(field=settings.label_field, file=settings.labels)
        found, said = attach({settings.data: shards}, asked)
        for line in [*said, *describe_labels(found[settings.data], settings.label_field)]:
            print(line)
    expected = Expected(settings.max_pixels, settings.channel_axis, settings.nodata)
    look = look_at(shards, expected)
    if look.kind.bands is not None:
        print(f"numbers as they are: {look.kind.told()}")
    for line in look.lines():
        print(line)
    return look.kind


def _tell_machine(settings: DoctorSettings, num_workers: int, pixel_bytes: int) -> None:
    """Print what this machine has too little of for such a run; its loaders have their limits."""
    each = ceil(num_workers / settings.processes)
    rows, cols = sides(settings.img_size)
    image_bytes = pixel_bytes * rows * cols + FACTS_BYTES
    needs = LoaderNeeds(settings.processes, each, settings.batch * image_bytes)
    raise_file_limit(needs.open_files)
    for line in shortages(needs):
        print(f"warning: {line}")


def _tell_cache(shards: ShardSet, settings: DoctorSettings) -> None:
    """Print what a run's own global batch and blocks ask of the cache, if there is one."""

    def least_bytes() -> int:
        size = settings.batch * settings.processes
        if size > shards.num_samples:  # such a run is refused; a smaller one has all of the set
            return int(shards.bytes.sum())
        order = open_order((shards.counts,), Dealing(0, size, settings.num_lanes))
        return least_cache_bytes(shards, order, settings.processes, 1)

    line = cache_line(shards, least_bytes)
    if line is not None:
        print(line)


def all_shares(shards: ShardSet, num_shards: int, num_lanes: int | None = None) -> Shares:
    """Return all shares of a run over the first shards of a set, as one process reads them.

    Without `num_lanes` it has as many lanes as it would take.
    """
    counts = shards.counts.copy()
    counts[num_shards:] = 0
    batch = min(BATCH_SIZE, int(counts.sum()))
    most = min(batch, num_lanes or MAX_DEFAULT_LANES)
    order = SetOrder(counts, 0, batch, max(n for n in range(1, most + 1) if batch % n == 0))
    return Shares(order, rank=0, world_size=1, start_step=0, stop_step=2**40)


def _table(one: OneCore, together: float, num_workers: int, settings: DoctorSettings) -> Table:
    table = Table("what", "value", title=settings.data)
    table.add_row("one core", f"{one.images_per_s:.0f} images/s")
    for name, part in one.parts().items():
        table.add_row(f"  {name}", f"{part:.0%}, {part / one.images_per_s * 1e3:.2f} ms")
    table.add_row(f"{num_workers} loader processes", f"{together:.0f} images/s")
    table.add_row("a file", f"{one.num_bytes / one.num_images / 1e3:.0f} kB on average")
    if one.short_sides:
        table.add_row("short side of a JPEG", f"{np.median(one.short_sides):.0f} pixels (median)")
    step = f": {settings.processes} x {settings.batch} in {settings.step_s:g} s"
    step = "" if settings.images_per_s else step
    table.add_row("training takes", f"{settings.takes:.0f} images/s{step}")
    return table


def advice(one: OneCore, per_worker: float, settings: DoctorSettings, cores: int) -> list[str]:
    """Say how many workers feed a step, whether a run would wait, and what to do about it.

    `per_worker` is the images/s of each loader process when all of them run.
    """
    processes = settings.processes
    most = per_worker * max(1, cores - processes)
    waits = 1 - most / settings.takes
    fed = f"{settings.batch} images a step"
    if settings.images_per_s:
        fed = f"{settings.images_per_s / processes:.0f} images/s"
    lines = [
        f"data.num_workers={settings.workers(per_worker)} feeds {fed} to each of {processes} "
        f"training process{'es' if processes > 1 else ''}.",
        f"A run would wait for data, {waits:.0%} of its time: the cores left to it bring "
        f"{most:.0f} images/s, it takes {settings.takes:.0f}. More cores are needed, or "
        "less work for each image."
        if waits > 0
        else f"A run would not wait for data: the cores left to it bring {most:.0f} images/s.",
    ]
    enough = round(min(sides(settings.img_size)) * 4 / 3)
    larger = float(np.median(one.short_sides)) / enough if one.short_sides else 0.0
    if larger > TOO_LARGE:
        lines.append(
            f"Images have {larger**2:.1f} times the pixels that crops to {settings.img_size} need: "
            f"copies by `ssl-swin shards create ... --short-side {enough}` are about as many times "
            "faster to decode. For fine-tuning with small crops take twice that side."
        )
    if one.num_broken:
        lines.append(
            f"{one.num_broken} of {one.num_images} images read cannot be decoded: ssl-swin shards "
            "verify names them. A run puts others in their place, and stops above "
            "data.max_bad_share."
        )
    if one.parts()["read"] > SLOW_STORAGE:
        lines.append("Storage is slow: copy the shards to a disk of this machine.")
    if one.num_jpegs < one.num_images / 2 and not one.as_they_are:
        lines.append("Most images are no JPEGs: Pillow decodes them, more slowly.")
    return lines
