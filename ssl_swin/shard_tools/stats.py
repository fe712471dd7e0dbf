"""`ssl-swin shards info --stats`: mean and deviation of every channel, exactly, in parallel."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.data.counting import counting
from ssl_swin.data.pixels.bands import bands_of, read_bands
from ssl_swin.data.pixels.channels import Names
from ssl_swin.data.pixels.decode import Bands, Reading, UnreadableImage
from ssl_swin.data.pixels.formats import decode, open_image
from ssl_swin.data.pixels.picture import there
from ssl_swin.data.shards.channel_names import channel_names_of, require_as_many
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader, some_images
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError
from ssl_swin.record.lines import write_text
from ssl_swin.typed import typed

_AHEAD = 4  # images in the hands of each thread


@dataclass(frozen=True)
class Moments:
    """Of some numbers of each channel, float64 (chans,): how many, their mean, and so on.

    Sums of squares are those of the distances from the mean, so nothing is lost to large numbers.
    """

    num_px: int
    """With those that hold no number."""
    num: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    least: np.ndarray
    largest: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, nodata: float | None) -> "Moments":
        """Return those of one image (height, width, chans)."""
        numbers = values.reshape(-1, values.shape[2]).astype(np.float64)
        some = there(values, nodata).reshape(numbers.shape)
        num = some.sum(axis=0, dtype=np.float64)
        mean = np.where(some, numbers, 0).sum(axis=0) / np.maximum(num, 1)
        squares = np.where(some, numbers - mean, 0) ** 2
        low, high = np.where(some, numbers, np.inf), np.where(some, numbers, -np.inf)
        return cls(len(numbers), num, mean, squares.sum(axis=0), low.min(axis=0), high.max(axis=0))

    def __add__(self, other: "Moments") -> "Moments":
        """Return those of both together.

        Source:
            Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm (1979).
        """
        num = self.num + other.num
        share = other.num / np.maximum(num, 1)
        apart = other.mean - self.mean
        return Moments(
            self.num_px + other.num_px,
            num,
            np.where(self.num > 0, self.mean + apart * share, other.mean),
            self.squares + other.squares + apart**2 * self.num * share,
            np.minimum(self.least, other.least),
            np.maximum(self.largest, other.largest),
        )

    @property
    def std(self) -> np.ndarray:
        """The standard deviation."""
        return np.sqrt(self.squares / np.maximum(self.num, 1))


def measure(
    shards: ShardSet, places: np.ndarray, reading: Reading, in_chans: int, num_workers: int
) -> tuple[Moments, int]:
    """Measure the images at some places, int64, of a set; see `measure_files`.

    Raises:
        ShardError: If none can be read, or as a `ShardReader`.
    """
    reader = ShardReader(shards, whole=False)
    files = (reader.read(int(a), int(b)) for a, b in zip(*shards.locate(places), strict=True))
    return measure_files(files, len(places), reading, in_chans, num_workers)


def measure_files(
    files: Iterable[bytes], num_files: int, reading: Reading, in_chans: int, num_workers: int
) -> tuple[Moments, int]:
    """Measure images; return their moments, and how many cannot be read.

    They are added up in their order: the result is that of one thread, bit for bit.

    Args:
        files: Their bytes.
        num_files: How many there are.
        reading: How they are read.
        in_chans: Channels that an image has; those of colours are in [0, 1].
        num_workers: Threads, at least 1.

    Raises:
        ShardError: If none can be read.
    """
    total, num_broken = None, 0

    def of(data: bytes) -> Moments | UnreadableImage:
        nodata = None if reading.bands is None else reading.bands.nodata
        try:
            return Moments.of(_numbers(data, in_chans, reading), nodata)
        except UnreadableImage as error:
            return error

    with counting("measuring", num_files) as count, ThreadPoolExecutor(num_workers) as pool:
        for one in _in_order(pool, of, files, num_workers * _AHEAD):
            count(1)
            if isinstance(one, UnreadableImage):
                num_broken, why = num_broken + 1, str(one)
            elif total is not None and len(one.num) != len(total.num):
                raise UserError(
                    f"some images have {len(total.num)} channels and some {len(one.num)}; one set "
                    "has one number of them"
                )
            else:
                total = one if total is None else total + one
    if total is None:
        raise ShardError(f"none of {num_broken} images can be read, give other shards: {why}")
    return total, num_broken


def _numbers(data: bytes, in_chans: int, reading: Reading) -> np.ndarray:
    if reading.bands is not None:
        return read_bands(data, reading.bands, reading.max_pixels)
    pixels = np.asarray(decode(data, in_chans, reading)) / 255
    return pixels.reshape(*pixels.shape[:2], in_chans)


def _in_order(
    pool: ThreadPoolExecutor, function: Any, items: Iterable[bytes], ahead: int
) -> Iterator[Any]:
    """Yield what the function makes of each item, in their order, a few of them at once."""
    rest = iter(items)
    jobs = [pool.submit(function, item) for item in islice(rest, ahead)]
    while jobs:
        yield jobs.pop(0).result()
        jobs += [pool.submit(function, item) for item in islice(rest, 1)]


@dataclass(frozen=True)
class Measuring:
    """How a set is measured; see `info`."""

    path: Path
    nodata: float | None
    channel_axis: str | None
    max_pixels: int
    num_workers: int


def measure_set(name: str, shards: ShardSet, places: np.ndarray, how: Measuring) -> None:
    """Measure images of a set, write what `data.stats` reads, and say what to type next.

    What they hold, colours or numbers of their own, is that of the first one.

    Raises:
        ShardError: As `measure`, or if the first image cannot be read, or not each of its channels
            has a name.
    """
    bands, in_chans = _held(name, shards, how)
    names: Names | None = None
    taken: dict[str, Any] = {}
    if bands is not None:
        names = channel_names_of(shards)
        require_as_many(names, in_chans, name)
        bands = replace(bands, num_in_file=None if names is None else in_chans)
        taken = {"dtype": bands.dtype, "nodata": bands.nodata, "channel_axis": bands.channel_axis}
    reading = Reading(max_pixels=how.max_pixels, bands=bands)
    moments, num_broken = measure(shards, places, reading, in_chans, how.num_workers)
    of = {"mean": moments.mean, "std": moments.std, "min": moments.least, "max": moments.largest}
    facts: dict[str, Any] = {
        "shards": name,
        "fingerprint": shards.fingerprint(),
        "num_images": len(places) - num_broken,
        "num_broken": num_broken,
        **taken,
        **({} if names is None else {"channels": names}),
        **{key: [float(one) for one in values] for key, values in of.items()},
        "num_values": [int(one) for one in moments.num],
    }
    write_text(how.path, json.dumps(facts, indent=2) + "\n")
    part = f"{len(places):,} of {shards.num_samples:,} images"
    share = moments.num.sum() / (moments.num_px * len(moments.num))
    print(
        f"measured {part}, channels: {len(moments.num)}"
        + f"; {num_broken} broken" * (num_broken > 0)
    )
    print(*_told(names, moments), sep="\n")
    if share < 1:
        print(f"  {100 * (1 - share):.3g} % are none")
    print(
        f"{how.path} has all; next: {typed('pretrain', 'CONFIG', '--data.shards', name)} "
        f"{typed('--data.stats', how.path).removeprefix('ssl-swin ')}"
    )


def _held(name: str, shards: ShardSet, how: Measuring) -> tuple[Bands | None, int]:
    """Return how numbers are taken as they are, if not colours, and how many channels there are.

    Raises:
        ShardError: If the first image cannot be read.
    """
    first = next(iter(some_images(shards, 1)), b"")
    try:
        found = bands_of(first, how.max_pixels, how.channel_axis, how.nodata)
        is_grey = found is None and open_image(first).mode in ("1", "L", "LA")
    except UnreadableImage as error:
        raise ShardError(
            f"{name}: the first image cannot be read; see --channel-axis, or give other shards: "
            f"{error}"
        ) from error
    return (None, 1 if is_grey else 3) if found is None else found


def _told(names: Names | None, moments: Moments) -> list[str]:
    """Say the mean and the deviation of each channel, by its name if it has one."""
    if names is None:
        return [f"  mean {_short(moments.mean)}", f"  std  {_short(moments.std)}"]
    width = max(map(len, names))
    return [
        f"  {printable(name):<{width}}  mean {mean:.5g}, std {std:.5g}"
        for name, mean, std in zip(names, moments.mean, moments.std, strict=True)
    ]


def _short(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{one:.5g}" for one in values) + "]"
