"""`ssl-swin shards info --stats`: mean and deviation of every channel, exactly, in parallel."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.data.counting import counting
from ssl_swin.data.pixels.bands import read_bands
from ssl_swin.data.pixels.channels import Names
from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.picture import there
from ssl_swin.data.shards.channel_names import channel_names_of, require_as_many
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.record.lines import write_text
from ssl_swin.shard_tools.look import Expected, look_at
from ssl_swin.typed import typed

_AHEAD = 2  # images in the hands of each thread
_AT_ONCE = 2**20  # numbers that each thread has as float64


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
        pixels, num = values.reshape(-1, values.shape[2]), max(1, _AT_ONCE // values.shape[2])
        parts = [cls._of_part(pixels[at : at + num], nodata) for at in range(0, len(pixels), num)]
        return sum(parts[1:], parts[0])

    @classmethod
    def _of_part(cls, pixels: np.ndarray, nodata: float | None) -> "Moments":
        numbers, some = pixels.astype(np.float64), there(pixels, nodata)  # (num_px, chans)
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
) -> tuple[Moments, list[tuple[str, str]]]:
    """Measure the images at some places, int64, of a set; see `measure_files`.

    Returns key and reason of each that cannot be read beside the moments.

    Raises:
        ShardError: If none can be read, or as a `ShardReader`.
    """
    reader = ShardReader(shards, whole=False)
    found = np.stack(shards.locate(places), axis=1).tolist()
    files = (reader.read(*place) for place in found)
    moments, broken = measure_files(files, len(found), reading, in_chans, num_workers)
    return moments, [(printable(reader.key(*found[number])), why) for number, why in broken]


def measure_files(
    files: Iterable[bytes], num_files: int, reading: Reading, in_chans: int, num_workers: int
) -> tuple[Moments, list[tuple[int, str]]]:
    """Measure images; return their moments, and which cannot be read, and why.

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
    total, broken = None, list[tuple[int, str]]()

    def of(data: bytes) -> Moments | UnreadableImage:
        nodata = None if reading.bands is None else reading.bands.nodata
        try:
            return Moments.of(_numbers(data, in_chans, reading), nodata)
        except UnreadableImage as error:
            return error

    with counting("measuring", num_files) as count, ThreadPoolExecutor(num_workers) as pool:
        for number, one in enumerate(_in_order(pool, of, files, num_workers * _AHEAD)):
            count(1)
            if isinstance(one, UnreadableImage):
                broken.append((number, str(one)))
            else:
                total = one if total is None else total + one
    if total is None:
        raise ShardError(
            f"none of {len(broken)} images can be read, give other shards: {broken[0][1]}"
        )
    return total, broken


def _numbers(data: bytes, in_chans: int, reading: Reading) -> np.ndarray:
    if reading.bands is not None:
        values = read_bands(data, reading.bands, reading.max_pixels)
        if values.shape[2] != in_chans:
            raise UnreadableImage(f"it has {values.shape[2]} channels, and most have {in_chans}")
        return values
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
    expected: Expected
    num_workers: int


def measure_set(name: str, shards: ShardSet, places: np.ndarray, how: Measuring) -> None:
    """Measure images of a set, write what `data.stats` reads, and say what to type next.

    What they hold, colours or numbers of their own, is that of most of some of them.

    Raises:
        ShardError: As `measure`, or if not each of its channels has a name.
        UserError: If the images cannot hold the `nodata` that was asked for.
    """
    look = look_at(shards, how.expected)
    bands, in_chans = look.kind
    names: Names | None = None
    taken: dict[str, Any] = {}
    if bands is not None:
        names = channel_names_of(shards)
        require_as_many(names, in_chans, name)
        bands = replace(bands, num_in_file=None if names is None else in_chans)
        taken = {"dtype": bands.dtype, "nodata": bands.nodata, "channel_axis": bands.channel_axis}
    reading = Reading(max_pixels=how.expected.max_pixels, bands=bands)
    moments, broken = measure(shards, places, reading, in_chans, how.num_workers)
    of = {"mean": moments.mean, "std": moments.std, "min": moments.least, "max": moments.largest}
    facts: dict[str, Any] = {
        "shards": name,
        "fingerprint": shards.fingerprint(),
        "num_images": len(places) - len(broken),
        "num_broken": len(broken),
        **taken,
        **({} if names is None else {"channels": names}),
        **{key: [float(n) if np.isfinite(n) else None for n in each] for key, each in of.items()},
        "num_values": [int(one) for one in moments.num],
    }
    write_text(how.path, json.dumps(facts, indent=2) + "\n")
    part = f"{len(places):,} of {shards.num_samples:,} images"
    print(f"measured {part}, channels: {len(moments.num)}; {len(broken)} broken")
    for line in [*_told(names, moments), *_odd(moments, broken), *look.told_alike()]:
        print(line)
    print(
        f"{how.path} has all; next: {typed('pretrain', 'CONFIG', '--data.shards', name)} "
        f"{typed('--data.stats', how.path).removeprefix('ssl-swin ')}"
    )


def _odd(moments: Moments, broken: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Say what is odd."""
    share = moments.num.sum() / (moments.num_px * len(moments.num))
    if share < 1:
        yield f"  {100 * (1 - share):.3g} % are none"
    if broken:
        key, why = broken[0]
        yield f"warning: {len(broken)} images were left out, such as {key!r}: {why}"
    empty = np.flatnonzero(moments.squares == 0).tolist()
    if empty:
        yield (
            f"warning: channels {', '.join(map(str, empty))}, counted from 0, hold one number "
            "alone, or none; a run refuses them: name the others in data.channels"
        )


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
