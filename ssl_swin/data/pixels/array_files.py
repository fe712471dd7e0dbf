"""Files that hold numbers as they are, any number of channels: .npy, .npz, TIFF, PNG of 16 bits.

Every header is read before the numbers are, so that a file which claims more than it has, or more
than is admitted, costs no memory. Nothing is ever unpickled, and nothing outside of a file is read.
"""

import io
import logging
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import IO, Literal, NamedTuple, cast

import numpy as np
from PIL import Image

from ssl_swin.data.pixels.decode import UnreadableImage, open_within, upright

NPY, ZIP, PNG = b"\x93NUMPY", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two are BigTIFF
MOST_VALUES_A_PIXEL = 3  # a file may hold as many numbers as an RGB image of `max_pixels`
DTYPES = ("uint8", "uint16", "int16", "float16", "float32")
_READ = (*DTYPES, "float64")  # which becomes float32 where that is asked for
_HEADER = 10_000  # bytes, as NumPy's own limit
_PIECE = 2**20  # bytes that are unpacked at a time
_MOST_PAGES = 1000
_PLAIN, _PALETTE = (1, 2), 3  # TIFF's words for grey from black on and RGB; for a table of colours
# What NumPy and tifffile raise over broken bytes; Pillow's list is `decode.BROKEN`.
BROKEN = (
    *(ValueError, OSError, EOFError, KeyError, IndexError, TypeError, OverflowError, SyntaxError),
    *(AttributeError, ZeroDivisionError, struct.error, zlib.error, zipfile.BadZipFile),
    *(NotImplementedError, MemoryError, RuntimeError, tokenize.TokenError),
)


class Raw(NamedTuple):
    """The numbers of a file."""

    values: np.ndarray
    """(height, width), or with an axis of channels; which one is not said by every file."""
    channel_axis: int | None = None
    """0 or 2 where the file says it."""
    is_plain: bool = True
    """Whether they may be grey, black being 0, or RGB; a TIFF may say that they are not."""


def read_raw(data: bytes, max_pixels: int) -> Raw:
    """Read the numbers of a file by its content.

    Args:
        data: The bytes of a file of any format that is read.
        max_pixels: As `Reading.max_pixels`; three times as many numbers are admitted.

    Raises:
        UnreadableImage: If it is none, is broken, or holds too many numbers or those of another
            type.
    """
    if not data:
        raise UnreadableImage("empty file")
    try:
        return _reader_of(data)(data, MOST_VALUES_A_PIXEL * max_pixels)
    except UnreadableImage:
        raise
    except BROKEN as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _reader_of(data: bytes) -> Callable[[bytes, int], Raw]:
    if data.startswith(NPY):
        return read_npy
    if data.startswith(ZIP):
        return read_npz
    if data.startswith(TIFFS):
        return read_tiff
    return read_png_16 if is_png_16(data) else read_by_pillow


def read_npy(data: bytes, most_values: int) -> Raw:
    """Read a .npy; an array of objects, which would be pickled, is refused."""
    file = io.BytesIO(data)
    shape, order, dtype = _npy_header(file, most_values)
    num, start = math.prod(shape), file.tell()
    if len(data) - start < num * dtype.itemsize:
        raise UnreadableImage(
            f"its header says {_told(shape, dtype)}, and {len(data) - start} bytes follow"
        )
    return Raw(np.frombuffer(data, dtype, num, start).reshape(shape, order=order))


def read_npz(data: bytes, most_values: int) -> Raw:
    """Read a .npz that holds one array, which is unpacked piece by piece into its place."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        arrays = [one for one in archive.infolist() if one.filename.endswith(".npy")]
        if len(arrays) != 1:
            names = ", ".join(one.filename for one in arrays[:5])
            raise UnreadableImage(
                f"a zip archive with {len(arrays)} arrays{f' ({names})' if names else ''}; one is "
                "wanted"
            )
        with io.BufferedReader(cast(io.RawIOBase, archive.open(arrays[0]))) as member:
            if not member.peek(len(NPY)).startswith(NPY):
                raise UnreadableImage("what it holds is no .npy")
            shape, order, dtype = _npy_header(member, most_values)
            flat = np.empty(math.prod(shape), dtype)  # takes memory as it is filled
            place, into = 0, flat.view(np.uint8).data
            while place < len(into) and (num := member.readinto(into[place : place + _PIECE])):
                place += num
            if place < len(into) or member.read(1):  # at the end its checksum is compared, too
                more = "more" if place == len(into) else f"{place} bytes"
                raise UnreadableImage(f"its header says {_told(shape, dtype)}, and {more} follow")
    return Raw(flat.reshape(shape, order=order))


def _npy_header(
    file: IO[bytes], most_values: int
) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype]:
    """Read shape, order of axes and type of a .npy, which are `check`ed, up to its numbers."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file, _HEADER)
    elif version in ((2, 0), (3, 0)):  # 3.0 has other names of fields, which no image has
        header = np.lib.format.read_array_header_2_0(file, _HEADER)
    else:
        raise UnreadableImage(f"a .npy of version {version[0]}.{version[1]}, which nobody knows")
    shape, is_fortran, dtype = header
    check(shape, dtype, most_values)
    return shape, "F" if is_fortran else "C", dtype


def read_tiff(data: bytes, most_values: int) -> Raw:
    """Read a TIFF: the samples of its first page, or pages of one size and type as channels.

    Pages that are smaller copies of another are passed over; metadata that name other files, too.
    """
    import tifffile  # late, for speed: only these files need it

    log = logging.getLogger("tifffile")
    if log.level == logging.NOTSET:  # it would warn of each image in each epoch
        log.setLevel(logging.CRITICAL)
    check_pages(data)
    try:
        return _read_tiff(tifffile, data, most_values)
    except tifffile.TiffFileError as error:  # in older releases no ValueError
        raise UnreadableImage(f"TiffFileError: {error}") from error


def _read_tiff(tifffile: ModuleType, data: bytes, most_values: int) -> Raw:
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False, is_ome=False) as file:
        pages = [page.aspage() for page in file.pages]
        pages = [page for page in pages if not page.is_reduced]
        if not pages:
            raise UnreadableImage("a TIFF without a picture")
        first = pages[0]
        if first.dtype is None:
            raise UnreadableImage("a TIFF of numbers that nobody knows")
        if first.ndim > 2:
            pages = pages[:1]
        alike = [one for one in pages if (one.shape, one.dtype) == (first.shape, first.dtype)]
        if len(alike) < len(pages):
            raise UnreadableImage(
                f"a TIFF of {len(pages)} pages of several sizes or types; give one with one picture"
            )
        shape = first.shape if len(pages) == 1 else (len(pages), *first.shape)
        check(shape, first.dtype, most_values)
        if any(len(one.dataoffsets) < math.prod(one.chunked) for one in pages):
            raise UnreadableImage("a TIFF that lacks parts of its picture")
        if first.photometric == _PALETTE and first.colormap is not None and len(pages) == 1:
            colours = first.colormap.T[first.asarray()]  # of 16 bits, (height, width, 3)
            return Raw((colours >> 8).astype(np.uint8), 2)
        if len(pages) == 1:
            axis = {"YX": None, "YXS": 2, "SYX": 0}.get(first.axes)
            return Raw(first.asarray(), axis, first.photometric in _PLAIN)
        stacked = np.stack([page.asarray() for page in pages])
        return Raw(stacked, 0, first.photometric in _PLAIN)


def check_pages(data: bytes) -> None:
    """Refuse a TIFF whose pages lead back to one another, which tifffile would follow for ever.

    Raises:
        UnreadableImage: If so, or it has more pages than any image has channels.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    place, count, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    offsets, offset = {0}, 8 if is_big else 4  # where the place of the first page stands
    with suppress(struct.error):  # beyond the end; tifffile takes the pages before it
        (offset,) = struct.unpack_from(order + place, data, offset)
        while offset not in offsets:
            offsets.add(offset)
            if len(offsets) - 1 > _MOST_PAGES:
                raise UnreadableImage(f"a TIFF of more than {_MOST_PAGES} pages")
            (num,) = struct.unpack_from(order + count, data, offset)
            after = offset + struct.calcsize(order + count) + num * entry
            (offset,) = struct.unpack_from(order + place, data, after)
        if offset:
            raise UnreadableImage("a TIFF whose pages lead back to one another")


def is_png_16(data: bytes) -> bool:
    """Whether it is a PNG with several channels of 16 bits, of which Pillow keeps 8."""
    return data.startswith(PNG) and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)


def read_png_16(data: bytes, most_values: int) -> Raw:
    """Read such a PNG."""
    import imagecodecs  # late, for speed

    width, height = struct.unpack(">II", data[16:24])
    check((height, width, {2: 3, 4: 2, 6: 4}[data[25]]), np.dtype(np.uint16), most_values)
    return Raw(imagecodecs.png_decode(data), 2)


def read_by_pillow(data: bytes, most_values: int) -> Raw:
    """Read a JPEG, PNG and so on, upright; a palette becomes the colours that it stands for."""
    formats = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
    image = upright(open_within(data, formats, most_values // MOST_VALUES_A_PIXEL))
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    if values.dtype == np.int32 and values.size and values.min() >= 0 and values.max() < 2**16:
        values = values.astype(np.uint16)  # grey of 16 bits, as Pillow opens some
    check(values.shape, values.dtype, most_values)
    return Raw(values, 2 if values.ndim == 3 else None)


def check(shape: tuple[int, ...], dtype: np.dtype, most_values: int) -> None:
    """Refuse what is no image of numbers, or too large, by what a header says.

    Raises:
        UnreadableImage: If so.
    """
    if dtype.name not in _READ or dtype.hasobject:
        raise UnreadableImage(f"{_told(shape, dtype)}; images are of {', '.join(_READ)}")
    if len(shape) not in (2, 3) or 0 in shape:
        raise UnreadableImage(
            f"{_told(shape, dtype)}; an image is (height, width), or that and an axis of channels"
        )
    if math.prod(shape) > most_values:
        raise UnreadableImage(
            f"{_told(shape, dtype)}, more than {MOST_VALUES_A_PIXEL} numbers for each of "
            f"max_pixels={most_values // MOST_VALUES_A_PIXEL}"
        )


def is_npy(data: bytes) -> bool:
    """Whether a file begins as a .npy."""
    return data.startswith(NPY)


def is_npz(data: bytes) -> bool:
    """Whether a file is a zip archive with a .npy among its first files, as a .npz."""
    return data.startswith(ZIP) and b".npy" in data[: 2**10]


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF."""
    return data.startswith(TIFFS)


def is_array(data: bytes) -> bool:
    """Whether a file may hold other numbers than colours of 8 bits."""
    return data.startswith((NPY, *TIFFS)) or is_npz(data) or is_png_16(data)


def _told(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{dtype} {shape}"


def open_array(data: bytes, max_pixels: int) -> Image.Image:
    """Return the numbers of a file as a grey or RGB image of Pillow, where they are one.

    Raises:
        UnreadableImage: If they are not, or as `read_raw`.
    """
    values, _, is_plain = read_raw(data, max_pixels)
    if not is_plain:
        raise UnreadableImage("a TIFF of other colours than grey and RGB, in a way of its own")
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    if values.shape[0] * values.shape[1] > max_pixels:
        raise UnreadableImage(
            f"{values.shape[1]} x {values.shape[0]} pixels, more than max_pixels={max_pixels}"
        )
    is_grey = values.ndim == 2 and values.dtype.name in ("uint8", "uint16", "float32")
    if not is_grey and not (values.dtype == np.uint8 and values.shape[2:] == (3,)):
        raise UnreadableImage(
            f"{_told(values.shape, values.dtype)} is neither grey nor RGB of 8 bits; data.dtype "
            "takes numbers as they are"
        )
    return Image.fromarray(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))))
