"""Files of more than 8 bits: which numbers they hold, and whether black and white fit them.

Cameras and scanners write 10 or 12 bits into 16, medical images negative numbers. With 65535 as
white these come out nearly black, and nothing is broken that would be named.
"""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from PIL import Image

from ssl_swin.data.pixels.decode import (
    DEFAULT_WHITE,
    Reading,
    UnreadableImage,
    is_deep,
    naming_what_is_broken,
)
from ssl_swin.data.pixels.formats import open_image

_DARK = 1 / 4  # of the way to white; if nothing is brighter, 64 of 256 levels are left


def depth_warning(files: Iterable[bytes], reading: Reading) -> str | None:
    """Look at the numbers in some files, and say if black and white are not made for them.

    Only the headers of files of 8 bits a channel are read. None if all is well.
    """
    num, grey, colour = 0, np.empty((0, 2)), np.empty((0, 2))  # least and largest of each file
    for data in files:
        num += 1
        with suppress(UnreadableImage), naming_what_is_broken():
            image = open_image(data, reading.max_pixels)
            if is_deep(image):
                grey = np.append(grey, _range(image), axis=0)
            elif _was_deep(image):
                colour = np.append(colour, _range(image), axis=0)
    black, white = reading.black, reading.white_or_default
    if len(grey):
        low, high = float(grey[:, 0].min()), float(grey[:, 1].max())
        if low < black or high > white or high < black + _DARK * (white - black):
            return (
                f"warning: {len(grey)} of {num} images looked at hold numbers from {low:g} to "
                f"{high:g}, while {black:g} becomes black and {white:g} white; set "
                f"{_remedy(low, high)} (data.white in a run, --white of shards create), or "
                "data.dtype, for numbers as they are"
            )
    if len(colour) and colour[:, 1].max() < _DARK * 255:
        return (
            f"warning: {len(colour)} of {num} images looked at have colours of 16 bits up to about "
            f"{257 * colour[:, 1].max():g}, of which the upper 8 are read, nearly "
            "black; write them with 8 bits"
        )
    return None


def _range(image: Image.Image) -> np.ndarray:
    """Return the least and the largest finite number of an image, (1, 2), or (0, 2) without one."""
    pixels = np.asarray(image)
    pixels = pixels[np.isfinite(pixels)]
    return np.array([[pixels.min(), pixels.max()]] if pixels.size else np.empty((0, 2)), float)


def _was_deep(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has colours of 16 bits, of which Pillow keeps 8."""
    return any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def deep_range(files: Iterable[bytes]) -> tuple[float, float] | None:
    """Return the least and the largest number in the grey files of more than 8 bits among some."""
    found = np.empty((0, 2))
    for data in files:
        with suppress(UnreadableImage), naming_what_is_broken():
            image = open_image(data)
            if is_deep(image):
                found = np.append(found, _range(image), axis=0)
    return (float(found[:, 0].min()), float(found[:, 1].max())) if len(found) else None


def black_and_white(low: float, high: float) -> tuple[float, float | None]:
    """Return the black and the white that fit numbers from `low` to `high`; None is 65535."""
    whole = low >= 0 and float(high).is_integer()
    white = max(1, 2 ** int(high).bit_length() - 1) if whole else high
    return min(low, 0.0), None if white == DEFAULT_WHITE else float(white)


def _remedy(low: float, high: float) -> str:
    black, white = black_and_white(low, high)
    told = f"white={DEFAULT_WHITE if white is None else white:g}"
    return told if low >= 0 else f"black={black:g} and {told}"
