"""The table of image formats, which indexing, packing, verifying and decoding read.

A format that Pillow knows is one line here, under Pillow's name for it. Any other is one line and
a file with its two functions. This file imports no torch: indexing tars does not need it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from ssl_swin.data.pixels.array_files import (
    is_array,
    is_npy,
    is_npz,
    is_tiff,
    open_array,
    read_raw,
)
from ssl_swin.data.pixels.decode import (
    BROKEN,
    MAX_PIXELS,
    USUAL,
    Reading,
    UnreadableImage,
    in_colours,
    naming_what_is_broken,
    open_within,
    upright,
)


@dataclass(frozen=True)
class ImageFormat:
    """How the files of one format are named, recognised and opened.

    Attributes:
        extensions: How their names end, lower case. A file that ends otherwise is no image; a
            format without extensions is read where a file has the wrong name.
        lossless: Whether they keep every pixel. Where packing has to write an image again, it
            writes those as PNG and others as JPEG.
        recognises: Tells by the first bytes of a file, whatever its name.
        open: Turns the bytes of a file of no more than so many pixels into an image of any mode,
            or raises `UnreadableImage`. Without these two functions, Pillow does it.
    """

    extensions: tuple[str, ...]
    lossless: bool
    recognises: Callable[[bytes], bool] | None = None
    open: Callable[[bytes, int], Image.Image] | None = None


# Pillow knows more formats; some of them start other programs.
IMAGE_FORMATS: dict[str, ImageFormat] = {
    "JPEG": ImageFormat(("jpg", "jpeg", "jfif", "jpe"), lossless=False),
    "PNG": ImageFormat(("png", "apng"), lossless=True),
    "WEBP": ImageFormat(("webp",), lossless=False),
    "TIFF": ImageFormat(("tif", "tiff"), lossless=True),
    "BMP": ImageFormat(("bmp",), lossless=True),
    "GIF": ImageFormat(("gif",), lossless=True),
    "PPM": ImageFormat(("ppm", "pgm", "pbm", "pnm"), lossless=True),
    "NPY": ImageFormat(("npy",), lossless=True, recognises=is_npy, open=open_array),
    "NPZ": ImageFormat(("npz",), lossless=True, recognises=is_npz, open=open_array),
}


def by_extension() -> dict[str, ImageFormat]:
    """Return the formats by the extensions of their files."""
    return {extension: kind for kind in IMAGE_FORMATS.values() for extension in kind.extensions}


def arrays() -> frozenset[str]:
    """Return the extensions of what is an image only where no file of another format is."""
    return frozenset((*IMAGE_FORMATS["NPY"].extensions, *IMAGE_FORMATS["NPZ"].extensions))


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image by its content, in its own mode and not upright; Pillow reads only the header.

    Raises:
        UnreadableImage: If no format recognises the bytes, the header is broken, or it has more
            pixels.
    """
    if not data:
        raise UnreadableImage("empty file")
    with naming_what_is_broken():
        for kind in IMAGE_FORMATS.values():
            if kind.recognises is not None and kind.open is not None and kind.recognises(data):
                return kind.open(data, max_pixels)
    pillows = tuple(name for name, kind in IMAGE_FORMATS.items() if kind.open is None)
    try:
        return open_within(data, pillows, max_pixels)
    except UnreadableImage:
        if not is_tiff(data):
            raise
        return open_array(data, max_pixels)


def has_several(data: bytes, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a file holds pages or frames beside the first, which is the one that is taken."""
    if is_npy(data) or is_npz(data):  # which are read whole to be opened
        return False
    with suppress(UnreadableImage, EOFError), naming_what_is_broken():
        open_image(data, max_pixels).seek(1)  # counting them all may take long
        return True
    return False


def decode(data: bytes, in_chans: int, reading: Reading = USUAL) -> Image.Image:
    """Decode a file of any format of the table, upright by its EXIF orientation, as `in_colours`.

    Raises:
        UnreadableImage: If the bytes are broken, cut short, a decompression bomb, or fractions.
    """
    with naming_what_is_broken():
        image = open_image(data, reading.max_pixels)
        try:
            image = upright(image)
        except BROKEN:
            if not is_tiff(data):
                raise
            image = open_array(data, reading.max_pixels)  # compressed as Pillow cannot read
        return in_colours(image, in_chans, reading)


def check(data: bytes, reading: Reading = USUAL) -> None:
    """Read a file as colours or, where it holds others, as numbers; nothing is returned.

    Raises:
        UnreadableImage: If it is neither.
    """
    if is_npy(data) or is_npz(data):
        read_raw(data, reading.max_pixels)
        return
    try:
        decode(data, 3, reading)
    except UnreadableImage:
        if not is_array(data):
            raise
        read_raw(data, reading.max_pixels)
