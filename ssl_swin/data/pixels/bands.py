"""Images whose numbers are taken as they are: any number of channels, of more types than uint8."""

from contextlib import suppress

import numpy as np

from ssl_swin.data.pixels.array_files import NPY, ZIP, Raw, read_raw
from ssl_swin.data.pixels.channels import CHANNELS_NAME
from ssl_swin.data.pixels.decode import Bands, UnreadableImage
from ssl_swin.data.pixels.formats import open_image

_MOST_CHANNELS = 256  # of what is taken for channels where a file does not say it


def read_bands(data: bytes, bands: Bands, max_pixels: int) -> np.ndarray:
    """Read a file: (height, width, chans), contiguous, of the type that is asked for.

    Raises:
        UnreadableImage: If it cannot be read, lacks a channel, holds numbers that do not fit into
            the type, or does not tell which axis is that of its channels.
    """
    return take_bands(read_raw(data, max_pixels), bands)


def take_bands(raw: Raw, bands: Bands) -> np.ndarray:
    """Return what `read_bands` does, of the numbers of a file; errors likewise."""
    values = channels_last(raw, bands.channel_axis)
    if bands.num_in_file not in (None, values.shape[2]):
        raise UnreadableImage(
            f"it has {values.shape[2]} channels, and {CHANNELS_NAME} names {bands.num_in_file}"
        )
    if bands.channels is not None:
        if max(bands.channels) >= values.shape[2]:
            raise UnreadableImage(
                f"it has {values.shape[2]} channels, and data.channels asks for number "
                f"{max(bands.channels)}, counted from 0"
            )
        values = values[:, :, list(bands.channels)]
    wanted, found = np.dtype(bands.dtype), values.dtype.newbyteorder("=")
    halved = (found, wanted) == (np.float64, np.float32)
    if not halved and not np.can_cast(found, wanted, "safe"):
        raise UnreadableImage(f"it holds {found}, which data.dtype={wanted} cannot")
    with np.errstate(over="ignore"):  # of float64: infinite, which stands for none
        return np.ascontiguousarray(values, wanted)


def channels_last(raw: Raw, channel_axis: str | None) -> np.ndarray:
    """Return numbers as (height, width, chans).

    Without a setting, or a word of the file, the channels are the axis that is shorter than both
    others.

    Raises:
        UnreadableImage: If there is none.
    """
    values, axis = raw.values, raw.channel_axis
    if values.ndim == 2:
        return values[:, :, None]
    if axis is None and channel_axis is not None:
        axis = {"first": 0, "last": 2}[channel_axis]
    if axis is None:
        rows, middle, last = values.shape
        is_first = rows < min(middle, last) and rows <= _MOST_CHANNELS
        is_last = last < min(rows, middle) and last <= _MOST_CHANNELS
        if is_first == is_last:
            raise UnreadableImage(
                f"its shape {values.shape} does not tell where the channels are; set "
                "data.channel_axis to first or last"
            )
        axis = 0 if is_first else 2
    return values if axis == 2 else values.transpose(1, 2, 0)


def bands_of(
    data: bytes, max_pixels: int, channel_axis: str | None = None, nodata: float | None = None
) -> tuple[Bands, int] | None:
    """Return how a file is taken as it is, and its channels; None of colours of 8 bits.

    Raises:
        UnreadableImage: As `read_raw` or `channels_last`.
    """
    values = channels_last(read_raw(data, max_pixels), channel_axis)
    of_colours = (1, 3) if data.startswith((NPY, ZIP)) else (1, 2, 3, 4)  # the others with alpha
    if values.dtype == np.uint8 and values.shape[2] in of_colours and nodata is None:
        return None
    dtype = "float32" if values.dtype == np.float64 else values.dtype.name
    return Bands(dtype, None, channel_axis, nodata), values.shape[2]


def size_of(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return width and height of an image; of a picture only the header is read.

    Raises:
        UnreadableImage: If there is none, or as `channels_last`.
    """
    with suppress(UnreadableImage):
        return open_image(data, max_pixels).size
    rows, cols, _ = channels_last(read_raw(data, max_pixels), None).shape
    return cols, rows
