"""What images are that hold numbers of their own: satellite tiles, stacks, fractions."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ssl_swin.data.pixels.array_files import is_array, read_raw
from ssl_swin.data.pixels.bands import channels_last
from ssl_swin.data.pixels.channels import Names
from ssl_swin.data.pixels.decode import MAX_PIXELS, Bands, Reading, UnreadableImage
from ssl_swin.errors import UserError
from ssl_swin.machine import usable_cores
from ssl_swin.shard_tools.stats import measure_files

_DIGITS = 6  # of a mean and a deviation
_MOST_THREADS = 8


class Told(NamedTuple):
    """What the user says of images that are no colours."""

    nodata: float | None = None
    """The number that stands for none, as `data.nodata`."""
    channel_axis: str | None = None
    """Where a .npy has its channels, as `data.channel_axis`."""


COLOURS = Told()


def numbers_in(source: str, files: list[bytes], told: Told) -> dict[str, Any]:
    """Return what files of numbers say of `Images`, by the names of its fields.

    How they are read is that of the first one that can be.

    Raises:
        UserError: If none can be read, or they have several numbers of channels.
    """
    why = []
    for data in files:
        if not is_array(data) and told == COLOURS:
            continue
        try:
            values = channels_last(read_raw(data, MAX_PIXELS), told.channel_axis)
        except UnreadableImage as error:
            why.append(str(error))
            continue
        dtype = "float32" if values.dtype == np.float64 else values.dtype.name
        bands = Bands(dtype, None, told.channel_axis, told.nodata)
        return _measured(files, bands, values.shape[2])
    raise UserError(
        f"none of the {len(files)} images of {source} that were looked at can be decoded"
        + (f": {why[0]} (--channel-axis of a recipe)" if why else "")
        + "; ssl-swin shards verify says why of shards, and shards create of a folder"
    )


def _measured(files: list[bytes], bands: Bands, num_channels: int) -> dict[str, Any]:
    threads = min(_MOST_THREADS, usable_cores())
    reading = Reading(bands=bands)
    moments, num_broken = measure_files(files, len(files), reading, num_channels, threads)
    return {
        "short_sides": percentiles([*_short_sides(files, bands)]),
        "mean": tuple(map(_rounded, moments.mean)),
        "std": tuple(_rounded(one) or 1.0 for one in moments.std),  # of a constant any will do
        "unreadable_share": num_broken / len(files),
        "bands": bands,
    }


def _short_sides(files: list[bytes], bands: Bands) -> Iterator[int]:
    for data in files:
        with suppress(UnreadableImage):
            yield min(channels_last(read_raw(data, MAX_PIXELS), bands.channel_axis).shape[:2])


def settings_of(bands: Bands | None, names: Names | None) -> dict[str, tuple[Any, str]]:
    """Return the settings of `data` that say how such files are read, each with its reason."""
    if bands is None:
        return {}
    none = "stands for none: it becomes the mean, and counts in no loss"
    found = {
        "dtype": (bands.dtype, "of the files, whose numbers are taken as they are"),
        "channels": (names and [*names], "all of them; of fewer take their mean and std alone"),
        "channel_axis": (bands.channel_axis, "where a .npy has its channels"),
        "nodata": (bands.nodata, none),
    }
    return {name: one for name, one in found.items() if one[0] is not None}


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def percentiles(sides: list[int]) -> tuple[int, int, int]:
    """Return 5, 50 and 95 per cent of some lengths, pixels."""
    low, middle, high = (round(side) for side in np.percentile(sides, (5, 50, 95)))
    return low, middle, high
