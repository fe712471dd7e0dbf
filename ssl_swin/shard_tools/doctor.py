"""Measures the input side of a machine: images/s, where time goes, whether a run would wait."""

import os
import time
from dataclasses import dataclass, field
from itertools import islice, pairwise
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssl_swin.data.batches.loader import loader
from ssl_swin.data.batches.stream import PREPARED_TOGETHER, ImageStream
from ssl_swin.data.order.lanes import MAX_DEFAULT_LANES, Dealing
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.open import open_order
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.remote.ahead import cache_plan, least_cache_bytes
from ssl_swin.data.shards.shard_set import ShardSet, open_shards

STAGES = ("read", "header and draw", "decode", "resize and write")
SLOW_STORAGE = 0.25  # share of the time above which reading is what to mend
TOO_LARGE = 1.25  # short side over what crops need, above which smaller copies pay
BATCH_SIZE = 64  # of the measurement; what it is makes no difference
REMOTE_SAMPLES = 4096  # of as few remote shards as hold these, images are read again and again
WARM_UP = 2  # batches of each worker that are not counted


@dataclass
class OneCore:
    """What one core did."""

    stages_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    num_images: int = 0
    num_jpegs: int = 0
    num_bytes: int = 0
    short_sides: list[int] = field(default_factory=list)
    """Of the JPEGs, pixels."""

    @property
    def images_per_s(self) -> float:
        """Images per second, all stages together."""
        return self.num_images / sum(self.stages_s.values())

    def shares(self) -> dict[str, float]:
        """Each stage's share of the time."""
        total = sum(self.stages_s.values())
        return {name: seconds / total for name, seconds in self.stages_s.items()}


@dataclass(frozen=True)
class Need:
    """What training asks of this machine.

    Attributes:
        batch: Images that each training process takes in one step.
        step_s: Seconds of one step.
        processes: Training processes on this machine.
    """

    batch: int
    step_s: float
    processes: int

    @property
    def images_per_s(self) -> float:
        """Images per second that the whole machine must bring."""
        return self.batch / self.step_s * self.processes

    def workers(self, images_per_s: float) -> int:
        """Loader processes for each training process if each brings so many images/s."""
        return ceil(self.images_per_s / self.processes / images_per_s)


def doctor(
    data: str,
    img_size: int = 192,
    crop_scale: tuple[float, float] = (0.67, 1.0),
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    decoder: Literal["fast", "pil"] = "fast",
    batch: int = 128,
    step_s: float = 0.25,
    processes: int = 1,
    num_workers: int | None = None,
    num_lanes: int | None = None,
    cache_dir: str | None = None,
    cache_gb: float | None = None,
    seconds: float = 6.0,
) -> None:
    """Measure how fast this machine reads, decodes and resizes, and say what a run would need.

    Files that were read a short while ago come from memory: on a fresh machine, or with more
    data than memory, storage shows as it is. A few remote shards are fetched before the clock
    starts: what is measured is this machine, not the network.

    Args:
        data: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL of
            these. For remote shards, the least cache that a run here needs is told first.
        img_size: Height and width of the network's input, pixels.
        crop_scale: Smallest and largest share of the area that a random crop keeps.
        interpolation: How crops are resized.
        decoder: How JPEGs are decoded, as `data.decoder`.
        batch: Images that each training process takes in one step, 1 or more.
        step_s: Seconds of one step; `ssl-swin pretrain ... --dry-run` prints them.
        processes: Training processes (GPUs) on this machine.
        num_workers: Loader processes in all, 1 or more; left out, as many as there are cores.
        num_lanes: Lanes of the run, as `data.num_lanes`; left out, as many as it would take.
        cache_dir: Folder for remote shards, as `data.cache_dir`.
        cache_gb: Most gigabytes kept there, as `data.cache_gb`.
        seconds: Length of each of the two measurements.

    Raises:
        ValueError: If an option is out of range.
        ShardError: If a shard is missing or was changed.
    """
    cores = len(os.sched_getaffinity(0))
    num_workers = cores if num_workers is None else num_workers
    numbers = {"img_size": img_size, "num_workers": num_workers, "seconds": seconds}
    numbers |= {"batch": batch, "step_s": step_s, "processes": processes}
    numbers |= {} if num_lanes is None else {"num_lanes": num_lanes}
    for name, value in numbers.items():
        if value <= 0:
            raise ValueError(f"{name}={value} must be greater than 0")
    if not 0 < crop_scale[0] <= crop_scale[1] <= 1:
        raise ValueError(f"crop_scale={crop_scale} must be 0 < smallest <= largest <= 1")
    shards = open_shards(data, None if cache_dir is None else Path(cache_dir), cache_gb)
    need = Need(batch, step_s, processes)
    _tell_cache(shards, need, num_lanes)
    transform = TrainTransform(0, img_size, crop_scale, interpolation=interpolation)
    stream = ImageStream(shards, transform, img_size, in_chans=3, decoder=decoder)
    torch.set_num_threads(1)
    draws = all_draws(shards, num_lanes)
    with Progress(transient=True) as progress:
        task = progress.add_task("fetching shards", total=None)
        _fetch(shards)
        progress.update(task, description="one core")
        one = measure_stages(stream, draws, seconds)
        progress.update(task, description=f"{num_workers} loader processes")
        together = measure_workers(stream, draws, num_workers, seconds)
    console = Console()
    console.print(_table(data, one, together, num_workers, need))
    for line in advice(one, together / num_workers, need, cores, img_size):
        console.print(f"- {line}", highlight=False)


def _tell_cache(shards: ShardSet, need: Need, num_lanes: int | None) -> None:
    """Print what a run's own global batch and blocks ask of the cache."""
    if shards.remote is None:
        return
    global_batch_size = need.batch * need.processes
    if global_batch_size > shards.num_samples:  # such a run is refused; a smaller one has all of it
        least = int(shards.bytes.sum())
    else:
        dealing = Dealing(seed=0, global_batch_size=global_batch_size, num_lanes=num_lanes)
        order = open_order((shards.counts,), dealing)
        least = least_cache_bytes(shards, order, need.processes, 1)
    print(cache_plan(shards, least, None, 0))


def _num_measured(shards: ShardSet) -> int:
    """Return how many shards, from the first on, are measured."""
    if shards.remote is None:
        return len(shards.counts)
    return int(np.searchsorted(shards.starts[1:-1], REMOTE_SAMPLES)) + 1


def _fetch(shards: ShardSet) -> None:
    """Bring the remote shards that are measured."""
    if shards.remote is None:
        return
    for shard in range(_num_measured(shards)):
        file = shards.remote.open(shard, shards.rows(shard))
        assert file is not None  # it was waited for
        shards.remote.release(file)


def all_draws(shards: ShardSet, num_lanes: int | None = None) -> Shares:
    """All steps of a run over these shards, in its order, as one process reads them.

    Of remote shards only a few, in one lane.
    """
    counts = shards.counts.copy()
    counts[_num_measured(shards) :] = 0
    batch = min(BATCH_SIZE, int(counts.sum()))
    most = min(batch, num_lanes or MAX_DEFAULT_LANES if shards.remote is None else 1)
    order = SetOrder(counts, 0, batch, max(n for n in range(1, most + 1) if batch % n == 0))
    return Shares(order, rank=0, world_size=1, start_step=0, stop_step=2**40)


def measure_stages(stream: ImageStream, draws: Shares, seconds: float) -> OneCore:
    """Do in this process what `ImageStream` does, a clock between the stages.

    Args:
        stream: What to read.
        draws: What to read of it; the first batch is not counted.
        seconds: When to stop, at the end of a batch.
    """
    one = OneCore()
    began = time.perf_counter()
    for number, draw in enumerate(draws):
        if number == 1:
            one, began = OneCore(), time.perf_counter()
        if number > 1 and time.perf_counter() - began > seconds:
            break
        epoch = np.broadcast_to(draw.epoch, draw.index.shape)
        for start in range(0, len(draw.index), PREPARED_TOGETHER):
            together = slice(start, start + PREPARED_TOGETHER)
            _measure(stream, epoch[together], draw.index[together], one)
    return one


def _measure(stream: ImageStream, epoch: np.ndarray, index: np.ndarray, one: OneCore) -> None:
    slot = np.empty((stream.in_chans, stream.img_size, stream.img_size), np.uint8)
    places = zip(*(found.tolist() for found in stream.shards.locate(index)), strict=True)
    times = [time.perf_counter()]
    data = [stream.reader.read(shard, row) for shard, row in places]
    times.append(time.perf_counter())
    samples = [
        stream.renderer.prepare(*each)
        for each in zip(data, epoch.tolist(), index.tolist(), strict=True)
    ]
    times.append(time.perf_counter())
    _add(one, STAGES[:2], times)
    for sample in samples:
        times = [time.perf_counter()]
        try:
            decoded = stream.renderer.decode(sample)
        except UnreadableImage:
            continue
        times.append(time.perf_counter())
        stream.renderer.write(sample, decoded, slot)
        times.append(time.perf_counter())
        _add(one, STAGES[2:], times)
    jpegs = [sample.jpeg for sample in samples if sample.jpeg is not None]
    one.num_images += len(samples)
    one.num_jpegs += len(jpegs)
    one.num_bytes += sum(map(len, data))
    one.short_sides += [min(jpeg.size) for jpeg in jpegs]


def _add(one: OneCore, stages: tuple[str, ...], times: list[float]) -> None:
    for stage, (start, stop) in zip(stages, pairwise(times), strict=True):
        one.stages_s[stage] += stop - start


def measure_workers(stream: ImageStream, draws: Shares, num_workers: int, seconds: float) -> float:
    """Images per second that so many loader processes bring together, once they run evenly."""
    batches = iter(loader(stream, draws, num_workers))
    for _ in islice(batches, WARM_UP * num_workers):
        pass
    began, num = time.perf_counter(), 0
    for batch in batches:
        num += len(batch["index"])
        if time.perf_counter() - began > seconds:
            break
    return num / (time.perf_counter() - began)


def _table(data: str, one: OneCore, together: float, num_workers: int, need: Need) -> Table:
    table = Table("what", "value", title=data)
    table.add_row("one core", f"{one.images_per_s:.0f} images/s")
    for name, share in one.shares().items():
        table.add_row(f"  {name}", f"{share:.0%}, {share / one.images_per_s * 1e3:.2f} ms")
    table.add_row(f"{num_workers} loader processes", f"{together:.0f} images/s")
    table.add_row("a file", f"{one.num_bytes / one.num_images / 1e3:.0f} kB on average")
    if one.short_sides:
        table.add_row("short side of a JPEG", f"{np.median(one.short_sides):.0f} pixels (median)")
    table.add_row(
        "training takes",
        f"{need.images_per_s:.0f} images/s: {need.processes} x {need.batch} in {need.step_s:g} s",
    )
    return table


def advice(one: OneCore, per_worker: float, need: Need, cores: int, img_size: int) -> list[str]:
    """Say how many workers feed a step, whether a run would wait, and what to do about it.

    Args:
        one: What one core did.
        per_worker: Images/s of each loader process when all of them run.
        need: What training takes.
        cores: Cores of this machine.
        img_size: Height and width of the network's input, pixels.
    """
    most = per_worker * max(1, cores - need.processes)
    waits = 1 - most / need.images_per_s
    lines = [
        f"data.num_workers={need.workers(per_worker)} feeds {need.batch} images a step to each of "
        f"{need.processes} training process{'es' if need.processes > 1 else ''}.",
        f"A run would wait for data, {waits:.0%} of its time: the cores left to it bring "
        f"{most:.0f} images/s, it takes {need.images_per_s:.0f}. More cores are needed, or less "
        "work for each image."
        if waits > 0
        else f"A run would not wait for data: the cores left to it bring {most:.0f} images/s.",
    ]
    enough = round(img_size * 4 / 3)
    larger = float(np.median(one.short_sides)) / enough if one.short_sides else 0.0
    if larger > TOO_LARGE:
        lines.append(
            f"Images have {larger**2:.1f} times the pixels that crops to {img_size} need: copies "
            f"by `ssl-swin shards create ... --short_side {enough}` are about as many times "
            "faster to decode. For fine-tuning with small crops take twice that side."
        )
    if one.shares()["read"] > SLOW_STORAGE:
        lines.append("Storage is slow: copy the shards to a disk of this machine.")
    if one.num_jpegs < one.num_images / 2:
        lines.append("Most images are no JPEGs: Pillow decodes them, more slowly.")
    return lines
