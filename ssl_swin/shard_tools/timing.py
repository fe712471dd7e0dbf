"""Times how fast images become pixels: stage by stage on one core, and in many loader processes."""

import time
from dataclasses import dataclass, field
from itertools import islice, pairwise

import numpy as np

from ssl_swin.data.batches.loader import loader
from ssl_swin.data.batches.stream import PREPARED_TOGETHER, ImageStream
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.decode import UnreadableImage, sides

STAGES = ("read", "header and draw", "decode", "resize and write")
_WARM_UP = 2  # batches of each worker that are not counted


@dataclass
class OneCore:
    """What one core did."""

    stages_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    num_images: int = 0
    num_jpegs: int = 0
    num_bytes: int = 0
    short_sides: list[int] = field(default_factory=list)
    """Of the JPEGs, pixels."""
    num_broken: int = 0
    """Images that cannot be decoded."""
    as_they_are: bool = False
    """Whether numbers are taken as they are."""

    @property
    def images_per_s(self) -> float:
        """Images per second through all stages."""
        return self.num_images / sum(self.stages_s.values())

    def parts(self) -> dict[str, float]:
        """Return each stage's part of the time, in [0, 1]."""
        total = sum(self.stages_s.values())
        return {name: seconds / total for name, seconds in self.stages_s.items()}


def time_stages(stream: ImageStream, shares: Shares, seconds: float) -> OneCore:
    """Do in this process what `ImageStream` does, for so long, with a clock between the stages.

    The first share is not counted, the last one is read whole.
    """
    one = OneCore(as_they_are=stream.renderer.reading.bands is not None)
    began = time.perf_counter()
    for number, share in enumerate(shares):
        if number == 1:
            one, began = OneCore(as_they_are=one.as_they_are), time.perf_counter()
        if number > 1 and time.perf_counter() - began > seconds:
            break
        epoch = np.broadcast_to(share.epoch, share.index.shape)
        for start in range(0, len(share.index), PREPARED_TOGETHER):
            together = slice(start, start + PREPARED_TOGETHER)
            _time_together(stream, epoch[together], share.index[together], one)
    return one


def _time_together(stream: ImageStream, epoch: np.ndarray, index: np.ndarray, one: OneCore) -> None:
    shape = stream.in_chans, *sides(stream.img_size)
    slot = np.empty(shape, stream.renderer.dtype)
    places = np.stack(stream.shards.locate(index), axis=1).tolist()  # (together, 2)
    times = [time.perf_counter()]
    data = [stream.reader.read(shard, row) for shard, row in places]
    times.append(time.perf_counter())
    keys = zip(data, epoch.tolist(), index.tolist(), strict=True)
    samples = [stream.renderer.prepare(*each) for each in keys]
    times.append(time.perf_counter())
    _add(one, STAGES[:2], times)
    for sample in samples:
        times = [time.perf_counter()]
        try:
            decoded = stream.renderer.decode(sample)
        except UnreadableImage:
            one.num_broken += 1
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


def time_workers(stream: ImageStream, shares: Shares, num_workers: int, seconds: float) -> float:
    """Return the images per second that so many loader processes bring together.

    The first batches of each worker are not counted: while workers start, they run unevenly.
    """
    batches = iter(loader(stream, shares, num_workers))
    for _ in islice(batches, _WARM_UP * num_workers):
        pass
    began, num = time.perf_counter(), 0
    for batch in batches:
        num += len(batch["index"])
        if time.perf_counter() - began > seconds:
            break
    return num / (time.perf_counter() - began)
