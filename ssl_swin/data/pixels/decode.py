"""Bytes -> pixels: one image member decoded as a person would expect to see it.

`decode` is the reference, by Pillow. `open_jpeg` is the fast way, for JPEGs. What it does not take
goes through `decode`, so that the same files are unreadable on both ways.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

MODES = {1: "L", 3: "RGB"}
COLOURS = {1: "GRAY", 3: "RGB"}  # simplejpeg's names of them

ORIENTATION = 0x0112  # EXIF's tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SCALES = (8, 4, 2)  # 1/n of the size, which JPEG decoders reach by leaving work out


class Turn(NamedTuple):
    """How an array is turned upright: axes exchanged first, then mirrored; views, no copies."""

    sideways: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels (height, width, chans)."""
        pixels = pixels.swapaxes(0, 1) if self.sideways else pixels
        pixels = pixels[:, ::-1] if self.mirror_x else pixels
        return pixels[::-1] if self.mirror_y else pixels


TURNS = {  # by orientation, as `UPRIGHT`
    2: Turn(mirror_x=True),
    3: Turn(mirror_x=True, mirror_y=True),
    4: Turn(mirror_y=True),
    5: Turn(sideways=True),
    6: Turn(sideways=True, mirror_x=True),
    7: Turn(sideways=True, mirror_x=True, mirror_y=True),
    8: Turn(sideways=True, mirror_y=True),
}


class UnreadableImage(ValueError):
    """The bytes are no image that can be decoded; the caller puts another sample in its place."""


BROKEN = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    IndexError,
    OverflowError,
    TypeError,
    struct.error,  # both of TIFF tags that are not what they say
    Image.DecompressionBombError,
)


@contextmanager
def naming_what_is_broken() -> Iterator[None]:
    """Turn all that decoders raise over broken bytes into `UnreadableImage`."""
    try:
        yield
    except UnreadableImage:
        raise
    except BROKEN as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says.

    Not by ImageOps.exif_transpose: it writes all EXIF anew and fails over fields nobody needs.
    """
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


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
    """What turns it upright."""

    def region(
        self, box: tuple[int, int, int, int], size: tuple[int, int], in_chans: int
    ) -> Region | None:
        """Decode a box, at a smaller scale if it holds many more pixels than are needed.

        The scale is the smallest of 1, 1/2, 1/4 and 1/8 at which the box still has twice the
        width and height of `size`.

        Args:
            box: Left, top, right and bottom in the upright image, pixels.
            size: Width and height that the box will be resized to.
            in_chans: 1 for grey, 3 for RGB.

        Returns:
            None if it takes Pillow to decode the file, or to refuse it.
        """
        width, height = box[2] - box[0], box[3] - box[1]
        fits = (s for s in SCALES if width >= 2 * s * size[0] and height >= 2 * s * size[1])
        scale = next(fits, 1)
        scaled = -(-self.size[0] // scale), -(-self.size[1] // scale)
        stored = scaled[::-1] if self.turn.sideways else scaled
        try:
            whole = simplejpeg.decode_jpeg(
                self.data,
                COLOURS[in_chans],
                min_height=stored[1],
                min_width=stored[0],
                min_factor=scale,
            )
        except ValueError:  # also of what libjpeg merely warns of
            return None
        if whole.shape[1::-1] != stored:  # a header that two readers understand differently
            return None
        # The image may fill only a part of the last column and row; mirrored, they are the first.
        x = box[0] / scale + self.turn.mirror_x * (scaled[0] - self.size[0] / scale)
        y = box[1] / scale + self.turn.mirror_y * (scaled[1] - self.size[1] / scale)
        left, top, right, bottom = int(x), int(y), ceil(x + width / scale), ceil(y + height / scale)
        pixels = np.ascontiguousarray(self.turn(whole)[top:bottom, left:right])
        x, y = x - left, y - top
        return Region(pixels, (x, y, x + width / scale, y + height / scale))


def open_jpeg(data: bytes) -> Jpeg | None:
    """Read a JPEG's header: its size, and how it is turned upright.

    Pillow reads it, in a hundredth of the time that decoding takes: so size limits, orientation
    and what counts as a header are the same on both ways.

    Returns:
        None for all that is not a grey or RGB JPEG with a sound header; `decode` it.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1), Turn())
    except BROKEN:
        return None
    if image.mode not in MODES.values():  # CMYK
        return None
    return Jpeg(data, image.size[::-1] if turn.sideways else image.size, turn)


def in_colours(image: Image.Image, in_chans: int) -> Image.Image:
    """Convert an image to grey (1 channel) or RGB (3); what is transparent becomes white.

    Raises:
        ValueError: If its pixels are fractions.
    """
    mode = MODES[in_chans]
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions, with no number agreed for white; use integers")
    if image.mode.startswith("I"):  # 16 bits a pixel: scaled, where Pillow would clip
        pixels = np.asarray(image).clip(0, 65535) // 257
        image = Image.fromarray(pixels.astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)
