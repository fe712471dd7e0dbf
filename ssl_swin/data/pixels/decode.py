"""The colours and the way up of an image as a person would expect to see it, by Pillow."""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssl_swin.data.pixels.channels import Channels, Names, numbers_of, places_among

MODES = {1: "L", 3: "RGB"}  # by number of channels

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


DEFAULT_WHITE = 65535.0
MAX_PIXELS = 178_956_970  # twice what Pillow warns of: its own limit


@dataclass(frozen=True)
class Bands:
    """Which numbers of a file become the network's channels, as they are."""

    dtype: str
    """Of a batch: "uint8", "uint16", "int16", "float16" or "float32". Files hold the same, or what
    fits into it: fewer bits, or float64 for float32."""
    channels: tuple[int, ...] | None = None
    """Which channels of a file, counted from 0, in their order; None for all."""
    channel_axis: str | None = None
    """Where a .npy has them: "first" or "last"; None where sizes tell it."""
    nodata: float | None = None
    """The number that stands for none; in fractions, NaN and infinity always do."""
    num_in_file: int | None = None
    """Channels that a file must have, where they have names; None for any number."""
    shown: tuple[int, ...] | None = None
    """What pictures show, counted from 0 among the channels that are taken: one as grey, or three
    as red, green and blue; None leaves it to `Stretch`."""

    def of_files(self, wanted: Names | None, named: Names | None, where: str) -> "Bands":
        """Return how files are read whose channels are `named`, if the network's are `wanted`.

        Where nobody has named the one or the other, channels are taken by their numbers.

        Raises:
            UserError: If the files lack a channel.
        """
        if wanted is None or named is None:
            return self
        channels = numbers_of(wanted, named, "data.channels, or the network,", where)
        return replace(self, channels=channels, num_in_file=len(named))


class ReadingSettings(Protocol):
    """What says how files are read: the settings of a run, and the card of a network."""

    # As in `Reading` and `Bands`.
    @property
    def decoder(self) -> str: ...  # noqa: D102
    @property
    def max_pixels(self) -> int: ...  # noqa: D102
    @property
    def black(self) -> float: ...  # noqa: D102
    @property
    def white(self) -> float | None: ...  # noqa: D102
    @property
    def dtype(self) -> str | None: ...  # noqa: D102
    @property
    def channels(self) -> Channels | None: ...  # noqa: D102
    @property
    def picture_channels(self) -> Channels | None: ...  # noqa: D102
    @property
    def channel_axis(self) -> str | None: ...  # noqa: D102
    @property
    def nodata(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True)
class Reading:
    """How files become pixels, the same for every file of a set."""

    decoder: str = "fast"
    """How JPEGs are decoded: "fast" by libjpeg-turbo, "pil" by Pillow, the reference."""
    max_pixels: int = MAX_PIXELS
    """Most pixels, width times height, of an image that is read."""
    black: float = 0.0
    """Of grey files of more than 8 bits: the number that becomes 0."""
    white: float | None = None
    """Of the same: the number that becomes 255; None for 65535, and no files of fractions."""
    bands: Bands | None = None
    """If numbers are taken as they are, of any type; else they become 8 bits, grey or RGB."""

    @classmethod
    def of(
        cls, settings: ReadingSettings, named: Names | None = None, where: str = "the files"
    ) -> "Reading":
        """Take it from settings or a card; without a dtype, files are colours.

        Channels by name are those of files whose channels are `named`; errors call these `where`.

        Raises:
            UserError: If there is no channel of a name, or pictures are to show one that is not
                taken.
        """
        bands = None
        if settings.dtype is not None:
            num = None if named is None else len(named)
            taken = numbers_of(settings.channels, named, "data.channels", where)
            shown = places_among(settings.picture_channels, taken, named, where)
            told = settings.channel_axis, settings.nodata, num, shown
            bands = Bands(settings.dtype, taken, *told)
        told_of_all = settings.decoder, settings.max_pixels, settings.black, settings.white
        return cls(*told_of_all, bands)

    @property
    def white_or_default(self) -> float:
        """The number that becomes 255."""
        return DEFAULT_WHITE if self.white is None else self.white


USUAL = Reading()


def sides(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a size in pixels, which is both sides or (rows, columns)."""
    return (img_size, img_size) if isinstance(img_size, int) else img_size


class UnreadableImage(ValueError):
    """The bytes are no image that can be decoded; the caller puts another sample in its place."""


# All that Pillow raises over broken bytes; no other list is kept.
BROKEN = (
    OSError,  # also of what Pillow cannot identify
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
        large = isinstance(error, Image.DecompressionBombError)
        hint = " (max_pixels admits larger ones)" if large else ""
        reason = re.sub(r"\s*'?<[^<>]* object at 0x[0-9a-f]+>'?", "", str(error))
        raise UnreadableImage(f"{type(error).__name__}: {reason}{hint}") from error


def open_within(data: bytes, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    """Open a file by Pillow, which reads only the header.

    Raises:
        UnreadableImage: If no format recognises it, its header is broken, or it has more pixels.
    """
    limit = Image.MAX_IMAGE_PIXELS  # of which Pillow warns; it refuses twice as many
    if max_pixels > MAX_PIXELS and limit is not None:
        # For the whole process, because Pillow looks there again when it crops.
        Image.MAX_IMAGE_PIXELS = max(limit, max_pixels)
    with naming_what_is_broken():
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError as error:
            raise UnidentifiedImageError(f"cannot identify image file{_looks(data)}") from error
        if image.width * image.height > max_pixels:
            raise UnreadableImage(
                f"{image.width} x {image.height} pixels, more than max_pixels={max_pixels}"
            )
        return image


# How files begin that are often called images: at which byte, with what, what they are.
_STRANGERS = (
    (4, b"ftypheic", "HEIC: export it as JPEG"),
    (4, b"ftypmif1", "HEIF: export it as JPEG"),
    (4, b"ftypavif", "AVIF: export it as JPEG"),
    (4, b"ftyp", "a film"),
    (0, b"<!", "a web page: a download that failed"),
    (0, b"<html", "a web page: a download that failed"),
    (0, b"<?xml", "XML, or an SVG drawing"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: git lfs pull brings the file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x1f\x8b", "packed by gzip"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"8BPS", "a Photoshop file"),
    (128, b"DICM", "DICOM: export it as PNG of 16 bits, and see data.white"),
)


def _looks(data: bytes) -> str:
    """Say what a file is that is no image of a known format; nothing if that is not known."""
    for place, begin, what in _STRANGERS:
        if data[place : place + 64].lstrip()[: len(begin)].lower() == begin.lower():
            return f"; it begins like {what}"
    return "" if any(data) else "; it holds nothing but zeros"


def upright(image: Image.Image) -> Image.Image:
    """Load an image and turn it as its EXIF orientation says.

    Not by ImageOps.exif_transpose: it writes all EXIF anew and fails over fields nobody needs.
    """
    image.load()  # first: Pillow turns a TIFF itself then, and its EXIF no longer asks for it
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey with more than 8 bits: whole numbers, perhaps negative, or not."""
    return image.mode == "F" or image.mode.startswith("I")


def in_colours(image: Image.Image, in_chans: int, reading: Reading = USUAL) -> Image.Image:
    """Convert to grey (1) or RGB (3), transparent to white.

    Raises:
        ValueError: If pixels are fractions, and no number is agreed for white.
    """
    mode = MODES[in_chans]
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "F" and reading.white is None:
        raise ValueError("its pixels are fractions, with no number agreed for white; set white")
    if is_deep(image):  # scaled, where Pillow would clip
        image = Image.fromarray(_to_bytes(np.asarray(image), reading))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def _to_bytes(pixels: np.ndarray, reading: Reading) -> np.ndarray:
    """Map black to 0 and white to 255, and what is between down to whole levels; NaN is black."""
    black, white = reading.black, reading.white_or_default
    pixels = np.nan_to_num(pixels, nan=black) if pixels.dtype.kind == "f" else pixels
    # Multiplied first: a quotient that is a whole number is then exact.
    scaled = (pixels.astype(np.float64).clip(black, white) - black) * 255 / (white - black)
    return scaled.astype(np.uint8)
