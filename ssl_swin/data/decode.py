"""Bytes -> pixels: one image member decoded as a person would expect to see it."""

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

MODES = {1: "L", 3: "RGB"}

# Those of the shard contract and their likes; Pillow also knows formats that start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")

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


class UnreadableImage(ValueError):
    """The bytes are no image that can be decoded; the caller puts another sample in its place."""


def decode(data: bytes, in_chans: int) -> Image.Image:
    """Decode an image, turn it upright by its EXIF orientation and convert its colours.

    Args:
        data: The member's bytes, of one of `FORMATS`.
        in_chans: 1 for grey, 3 for RGB.

    Raises:
        UnreadableImage: If the bytes are broken, cut short, a decompression bomb, or fractions.
    """
    if not data:
        raise UnreadableImage("empty file")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
        image = upright(image)
        plain = image.mode == MODES[in_chans] and "transparency" not in image.info
        return image if plain else _converted(image, MODES[in_chans])
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,  # Pillow's word for a broken PNG
        ValueError,
        IndexError,
        OverflowError,
        TypeError,
        struct.error,  # both of TIFF tags that are not what they say
        Image.DecompressionBombError,
    ) as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says.

    Not by ImageOps.exif_transpose: it writes all EXIF anew and fails over fields nobody needs.
    """
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, mode: str) -> Image.Image:
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
