"""The fast way of JPEGs: the header by Pillow, then the pixels of a box by libjpeg-turbo.

Files that it does not take go to `formats.decode`, so the same files are unreadable on both ways.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import simplejpeg

from ssl_swin.data.pixels.decode import (
    MAX_PIXELS,
    MODES,
    ORIENTATION,
    UnreadableImage,
    naming_what_is_broken,
    open_within,
)

COLOURS = {1: "GRAY", 3: "RGB"}  # simplejpeg's names, by number of channels
SCALES = (8, 4, 2)  # 1/n of the size, which a JPEG decoder reaches by leaving work out


class Turn(NamedTuple):
    """How an array is turned upright: axes exchanged first, then mirrored; views, no copies."""

    sideways: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels (height, width, chans); sideways, they become (width, height, chans)."""
        pixels = pixels.swapaxes(0, 1) if self.sideways else pixels
        pixels = pixels[:, ::-1] if self.mirror_x else pixels
        return pixels[::-1] if self.mirror_y else pixels


TURNS = {  # by orientation, as `decode.UPRIGHT`
    2: Turn(mirror_x=True),
    3: Turn(mirror_x=True, mirror_y=True),
    4: Turn(mirror_y=True),
    5: Turn(sideways=True),
    6: Turn(sideways=True, mirror_x=True),
    7: Turn(sideways=True, mirror_x=True, mirror_y=True),
    8: Turn(sideways=True, mirror_y=True),
}


class Region(NamedTuple):
    """Decoded pixels that hold a box, perhaps at a smaller scale."""

    pixels: np.ndarray
    """uint8 (height, width, in_chans), contiguous."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the box in `pixels`; not whole numbers at smaller scales."""


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG of which only the header was read."""

    data: bytes
    size: tuple[int, int]
    """Width and height when upright, pixels."""
    turn: Turn

    def region(
        self, box: tuple[int, int, int, int], size: tuple[int, int], in_chans: int
    ) -> Region | None:
        """Decode a box, at a smaller scale if it holds many more pixels than are needed.

        The scale is the smallest of 1, 1/2, 1/4 and 1/8 at which the box, in pixels of the upright
        image, still has twice the width and height of `size`, to which it will be resized. None if
        it takes Pillow to decode the file, or to refuse it.
        """
        width, height = box[2] - box[0], box[3] - box[1]
        fits = (s for s in SCALES if width >= 2 * s * size[0] and height >= 2 * s * size[1])
        scale = next(fits, 1)
        scaled = -(-self.size[0] // scale), -(-self.size[1] // scale)
        stored = scaled[::-1] if self.turn.sideways else scaled
        least = {"min_width": stored[0], "min_height": stored[1], "min_factor": scale}
        try:
            whole = simplejpeg.decode_jpeg(self.data, COLOURS[in_chans], **least)
        except ValueError:  # also of what libjpeg merely warns of
            return None
        if whole.shape[1::-1] != stored:  # a header that two readers understand differently
            return None
        # The image may fill only a part of the last column and row. Mirrored, they are the first.
        x = box[0] / scale + self.turn.mirror_x * (scaled[0] - self.size[0] / scale)
        y = box[1] / scale + self.turn.mirror_y * (scaled[1] - self.size[1] / scale)
        left, top, right, bottom = int(x), int(y), ceil(x + width / scale), ceil(y + height / scale)
        # (stored_height, stored_width, chans) -> upright -> (box_height, box_width, chans)
        pixels = np.ascontiguousarray(self.turn(whole)[top:bottom, left:right])
        x, y = x - left, y - top
        return Region(pixels, (x, y, x + width / scale, y + height / scale))


def open_jpeg(data: bytes, max_pixels: int = MAX_PIXELS) -> Jpeg | None:
    """Read a JPEG's header; None for anything but a grey or RGB JPEG with a sound one.

    Pillow reads it, so size limits, orientation and what counts as a header are the same on both
    ways. It takes a hundredth of the time of decoding.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        image = open_within(data, ("JPEG",), max_pixels)
        with naming_what_is_broken():
            turn = TURNS.get(image.getexif().get(ORIENTATION, 1), Turn())
    except UnreadableImage:
        return None
    if image.mode not in MODES.values():  # CMYK
        return None
    return Jpeg(data, image.size[::-1] if turn.sideways else image.size, turn)
