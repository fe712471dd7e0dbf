import io
import struct
import tracemalloc
import zipfile
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from ssl_swin.data.pixels import array_files
from ssl_swin.data.pixels.array_files import DTYPES, read_raw
from ssl_swin.data.pixels.decode import Reading, UnreadableImage
from ssl_swin.data.pixels.formats import decode, has_several
from tests.data.shards.tars import image_bytes

MAX_PIXELS = 10_000
RNG = np.random.default_rng(0)


def numbers(shape, dtype):
    if np.dtype(dtype).kind == "f":
        return RNG.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    native = np.dtype(dtype).newbyteorder("=")
    return RNG.integers(limits.min, limits.max, shape, native, endpoint=True).astype(dtype)


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def npy_header(text, version=b"\x01\x00"):
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text.encode()


@pytest.mark.parametrize("dtype", [*DTYPES, "float64", ">f4", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_is_read_to_the_last_bit(dtype, order):
    array = np.asarray(numbers((7, 5, 3), dtype), order=order)
    for data in (npy(array), npz(bands=array)):
        np.testing.assert_array_equal(read_raw(data, MAX_PIXELS).values, array, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd"])
@pytest.mark.parametrize("planes", ["contig", "separate", "pages"])
def test_a_tiff_of_any_number_of_bands_is_read_to_the_last_bit(dtype, compression, planes):
    array = numbers((6, 40, 30), dtype)
    how = {"compression": compression, "predictor": compression is not None and dtype != "float16"}
    if planes == "pages":
        data, axis = tiff(array, photometric="minisblack", **how), 0
    elif planes == "contig":
        array, axis = np.moveaxis(array, 0, 2), 2
        data = tiff(array, photometric="minisblack", planarconfig="contig", **how)
    else:
        how |= {"photometric": "minisblack", "planarconfig": "separate"}
        data, axis = tiff(array, **how), 0
    found = read_raw(data, MAX_PIXELS)
    np.testing.assert_array_equal(found.values, array, strict=True)
    assert found.channel_axis == axis


def test_a_palette_is_the_colours_that_it_stands_for():
    image = Image.fromarray(numbers((8, 6, 3), "uint8")).quantize(20)
    for kind in ("TIFF", "PNG"):
        file = io.BytesIO()
        image.save(file, kind)
        found = read_raw(file.getvalue(), MAX_PIXELS)
        np.testing.assert_array_equal(found.values, np.asarray(image.convert("RGB")), strict=True)
        assert found.channel_axis == 2


def test_a_tiff_that_lacks_parts_is_never_filled_up(caplog):
    array = numbers((64, 64), "uint16")
    for how in ({"tile": (16, 16)}, {"tile": (16, 16), "compression": "zstd"}, {"rowsperstrip": 9}):
        data = tiff(array, **how)
        for length in range(300, len(data), len(data) // 9):
            with pytest.raises(UnreadableImage):
                read_raw(data[:length], MAX_PIXELS)
    claims = bytearray(tiff(array, tile=(16, 16)))
    with tifffile.TiffFile(io.BytesIO(bytes(claims))) as file:
        tag = file.pages[0].tags["ImageLength"]
    claims[tag.valueoffset : tag.valueoffset + 2] = struct.pack("<H", 128)
    with pytest.raises(UnreadableImage, match="lacks parts of its picture"):
        read_raw(bytes(claims), MAX_PIXELS)
    assert caplog.records == []  # tifffile's own words would come for each image of each epoch


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("num_entries", [0, 1])
def test_pages_that_lead_back_to_one_another_are_refused(is_big, num_entries):
    page = struct.pack("<Q" if is_big else "<H", num_entries) + bytes(num_entries * 20)
    place, head = ("<Q", b"II+\0\x08\0\0\0") if is_big else ("<I", b"II*\0")
    start = len(head) + struct.calcsize(place)
    page = page if is_big else page[: 2 + num_entries * 12]
    data = head + struct.pack(place, start) + page + struct.pack(place, start)
    with pytest.raises(UnreadableImage, match="lead back to one another"):
        read_raw(data, MAX_PIXELS)


def test_more_pages_than_any_image_has_are_refused(monkeypatch):
    monkeypatch.setattr(array_files, "_MOST_PAGES", 5)
    five, six = (tiff(numbers((n, 8, 8), "uint8"), photometric="minisblack") for n in (5, 6))
    assert len(read_raw(five, MAX_PIXELS).values) == 5
    with pytest.raises(UnreadableImage, match="more than 5 pages"):
        read_raw(six, MAX_PIXELS)


@pytest.mark.parametrize("meaning", ["miniswhite", "cielab"])
def test_numbers_of_other_colours_are_not_taken_for_grey_or_rgb(meaning):
    array = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)
    array = array[:, :, 0] if meaning == "miniswhite" else array
    data = tiff(array, photometric=meaning, compression="jpeg2000")
    with pytest.raises(UnreadableImage, match="other colours than grey and RGB"):
        decode(data, 3)
    assert np.array_equal(read_raw(data, 100).values, array)  # as they are


@pytest.mark.parametrize("compression", ["jpeg2000", "zstd"])
def test_a_tiff_that_pillow_cannot_read_is_an_image_as_any(compression):
    array = numbers((40, 30, 3), "uint8")
    data = tiff(array, photometric="rgb", compression=compression)
    assert np.asarray(decode(data, 3)).shape == array.shape
    assert not has_several(data)
    for one in (data, tiff(array[:, :, 0], compression=compression)):
        with pytest.raises(UnreadableImage, match="max_pixels=1000"):
            decode(one, 3, Reading(max_pixels=1000))
    bands = tiff(numbers((8, 8, 5), "uint8"), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match=r"data\.dtype takes numbers as they are"):
        decode(bands, 3)


def test_smaller_copies_in_a_tiff_are_no_channels():
    file = io.BytesIO()
    array = numbers((40, 30), "uint16")
    with tifffile.TiffWriter(file) as writer:
        writer.write(array)
        writer.write(array[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_raw(file.getvalue(), MAX_PIXELS).values, array)


@pytest.mark.parametrize("chans", [1, 3, 4])
def test_a_png_of_16_bits_keeps_them(chans):
    array = numbers((8, 6, chans), "uint16")
    data = imagecodecs.png_encode(array[:, :, 0] if chans == 1 else array)
    found = read_raw(data, MAX_PIXELS).values
    np.testing.assert_array_equal(found.reshape(array.shape), array, strict=True)


def test_other_formats_are_what_pillow_reads():
    for kind, mode in (("PNG", "RGB"), ("PNG", "L"), ("JPEG", "RGB"), ("PNG", "RGBA")):
        data = image_bytes(0, kind, (9, 7), mode)
        values = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(read_raw(data, MAX_PIXELS).values, values, strict=True)


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("it-was-unpickled", "w")


def zip_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 14), }\n"
SHORT = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 10, 3), }\n"
HOSTILE = {
    "empty": (b"", "empty file"),
    "objects": (npy(np.array([[Evil()]]), allow_pickle=True), "object"),
    "objects in a npz": (zip_of(a=npy(np.array([[Evil()]]), allow_pickle=True)), "object"),
    "terabytes": (npy_header(HUGE) + bytes(100), "max_pixels"),
    "fewer bytes than it says": (npy_header(SHORT) + bytes(100), "100 bytes follow"),
    "a header that is code": (npy_header("__import__('os').getcwd()\n"), "ValueError"),
    "a header of a gigabyte": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**30), "ValueError"),
    "another version": (npy_header(SHORT, b"\x09\x00"), "version 9.0"),
    "no dimension": (npy(np.float32(1)), "an image is"),
    "four dimensions": (npy(np.zeros((2, 2, 2, 2), np.float32)), "an image is"),
    "no pixel": (npy(np.zeros((0, 4), np.float32)), "an image is"),
    "text": (npy(np.array([["a"]])), "images are of"),
    "complex": (npy(np.zeros((4, 4), np.complex64)), "images are of"),
    "fields": (npy(np.zeros((4, 4), [("a", "f4")])), "images are of"),
    "int64": (npy(np.zeros((4, 4), np.int64)), "images are of"),
    "two arrays": (npz(a=np.zeros((2, 2)), b=np.zeros((2, 2))), "2 arrays (a.npy, b.npy)"),
    "a npz of less": (zip_of(a=npy_header(SHORT) + bytes(100)), "100 bytes follow"),
    "a npz of more": (zip_of(a=npy_header(SHORT) + bytes(1201)), "more follow"),
    "no array": (zip_of()[:4] + zip_of(), ""),
    "a bomb": (zip_of(a=npy(np.zeros((2**12, 2**12, 1), np.float32))), "max_pixels"),
    "no .npy inside": (zip_of(a=b"hello"), "no .npy"),
    "cut off": (npy(np.zeros((9, 9), np.float32))[:-1], "bytes follow"),
    "a tiff cut off": (tiff(numbers((40, 30), "uint16"))[:200], ""),
    "a tiff of sizes": (None, "several sizes"),
    "a page": (b"<!DOCTYPE html><html></html>", "web page"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_or_wrong_is_one_line_and_nothing_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, said = HOSTILE[name]
    if data is None:
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(numbers((8, 8), "uint8"))
            writer.write(numbers((9, 8), "uint8"))
        data = file.getvalue()
    with pytest.raises(UnreadableImage) as caught:
        read_raw(data, MAX_PIXELS)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_npz_is_unpacked_once_and_compared_with_its_checksum():
    array = np.zeros((512, 1024, 8), np.float32)
    data = npz(a=array)
    tracemalloc.start()
    found = read_raw(data, array.size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.values.nbytes <= peak < 1.3 * array.nbytes
    whole = bytearray(zip_of(a=npy(array[:9])))
    place = whole.rindex(b"PK\x01\x02") + 16  # of the checksum that counts
    whole[place] ^= 1
    with pytest.raises(UnreadableImage, match="Bad CRC-32"):
        read_raw(bytes(whole), array.size)


@pytest.mark.parametrize("seed", range(200))
def test_broken_bytes_are_read_or_refused_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    whole = (npy, npz, tiff)[seed % 3]
    array = numbers((12, 10, 4), "uint16")
    data = bytearray(npz(a=array) if whole is npz else whole(array))
    for place in rng.integers(0, len(data), 1 + seed % 7):
        data[place] = rng.integers(256)
    data = data[: rng.integers(1, len(data))] if seed % 5 == 0 else data
    with suppress(UnreadableImage):
        assert read_raw(bytes(data), MAX_PIXELS).values.size <= 3 * MAX_PIXELS


def test_ome_metadata_that_name_another_file_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("other.ome.tif", numbers((2, 8, 8), "uint16"), metadata={"axes": "CYX"})
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" SizeY="8" SizeC="2" '
        'SizeZ="1" SizeT="1"><TiffData FirstC="1"><UUID FileName="other.ome.tif">urn:uuid:1</UUID>'
        "</TiffData></Pixels></Image></OME>"
    )
    array = numbers((8, 8), "uint16")
    data = tiff(array, description=text, metadata=None)
    np.testing.assert_array_equal(read_raw(data, MAX_PIXELS).values, array, strict=True)


def test_an_array_of_colours_is_an_image_as_any():
    array = numbers((7, 5, 3), "uint8")
    for data in (npy(array), npz(a=array), npy(array.transpose(2, 0, 1))):
        np.testing.assert_array_equal(np.asarray(decode(data, 3)), array, strict=True)
    with pytest.raises(UnreadableImage, match=r"neither grey nor RGB of 8 bits; data\.dtype"):
        decode(npy(numbers((7, 5, 14), "float32")), 3)
