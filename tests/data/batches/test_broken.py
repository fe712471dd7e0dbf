"""Images as the world has them: each comes out as a person would see it, or is left out by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.one_set import Share
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.transforms import EvaluationTransform
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.shard_tools.inspect import broken_samples
from tests.data.shards.tars import image_bytes, write_tar

TURNED = {
    1: [[0, 60, 120], [180, 220, 255]],
    2: [[120, 60, 0], [255, 220, 180]],
    3: [[255, 220, 180], [120, 60, 0]],
    4: [[180, 220, 255], [0, 60, 120]],
    5: [[0, 180], [60, 220], [120, 255]],
    6: [[180, 0], [220, 60], [255, 120]],
    7: [[255, 120], [220, 60], [180, 0]],
    8: [[120, 255], [60, 220], [0, 180]],
}
LOSSLESS = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(*colour, mode="RGB"):
    return Image.new(mode, (16, 16), colour)


def pixel(data):
    return np.asarray(decode(data, in_chans=3))[8, 8].astype(int)


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, bits, colour_type, rows, *chunks):
    """A PNG of kinds that Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", TURNED)
def test_every_format_is_turned_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.kron(np.array(TURNED[1], np.uint8), np.ones((8, 8), np.uint8))  # JPEG's blocks
    data = encoded(Image.fromarray(stored), kind, exif=exif, **LOSSLESS.get(kind, {}))
    found = np.asarray(decode(data, in_chans=1)).astype(int)[4::8, 4::8]
    assert abs(found - TURNED[orientation]).max() <= 2


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 255), (255, 255, 255), (40, 40, 40)])
def test_a_cmyk_jpeg_keeps_its_colours(colour):
    ink = Image.new("RGB", (16, 16), colour).convert("CMYK")
    assert abs(pixel(encoded(ink, "JPEG", quality=100)) - colour).max() <= 2


@pytest.mark.parametrize("light", [0, 100, 255])
def test_an_adobe_ycck_jpeg_keeps_its_colours(light):
    # Written as CMYK, which Pillow stores inverted: luma, no chroma, no black.
    data = encoded(Image.new("CMYK", (16, 16), (light, 127, 127, 0)), "JPEG", quality=100)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    ycck = data[:place] + b"\2" + data[place + 1 :]
    assert abs(pixel(ycck) - light).max() <= 3


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(kind, byte_order):
    values = np.array([[0, 257, 32896, 65535]], dtype=f"{byte_order}u2")
    mode = "I;16" if byte_order == "<" else "I;16B"
    image = Image.frombytes(mode, (4, 1), values.tobytes())
    found = np.asarray(decode(encoded(image, kind), in_chans=1))
    assert found.tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(("colour_type", "chans"), [(2, 3), (6, 4)])
def test_sixteen_bit_colour_is_scaled(colour_type, chans):
    values = np.array([[255, 128, 1, 255], [0, 2, 200, 255]])[:, :chans] * 257
    data = png(2, 1, 16, colour_type, b"\0" + values.astype(">u2").tobytes())
    assert np.asarray(decode(data, in_chans=3)).tolist() == [[[255, 128, 1], [0, 2, 200]]]


def test_pixels_that_are_fractions_are_left_out():
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    with pytest.raises(UnreadableImage, match="pixels are fractions"):
        decode(encoded(Image.fromarray(values), "TIFF"), in_chans=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP"])
def test_one_bit_is_black_and_white(kind):
    image = Image.fromarray(np.eye(8, dtype=bool))
    found = np.asarray(decode(encoded(image, kind), in_chans=3))
    assert (found == 255 * np.eye(8, dtype=np.uint8)[..., None]).all()


def test_a_transparent_colour_of_a_palette_is_white_and_the_others_stay():
    image = Image.new("P", (16, 16), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 16, 4))
    for options, expected in (({}, (10, 20, 30)), ({"transparency": 0}, (255, 255, 255))):
        for kind in ("PNG", "GIF"):
            data = encoded(image, kind, **options)
            assert pixel(data).tolist() == [200, 100, 50]
            assert decode(data, in_chans=3).getpixel((0, 0)) == expected
    partly = encoded(image, "PNG", transparency=b"\x80\xff")  # one opacity a colour
    assert decode(partly, in_chans=3).getpixel((0, 0)) == (132, 137, 142)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_several_pictures_the_first_is_taken(kind):
    first, *others = (plain(*colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    data = encoded(first, kind, save_all=True, append_images=others)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert abs(pixel(data) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_jpeg_is_the_same_picture(mode):
    image = Image.open(io.BytesIO(image_bytes(0, size=(40, 30)))).convert(mode)
    baseline, progressive = (encoded(image, "JPEG", progressive=p) for p in (False, True))
    assert baseline != progressive
    assert decode(baseline, 3).tobytes() == decode(progressive, 3).tobytes()


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"x"]
)
def test_a_colour_profile_changes_nothing_even_if_it_is_broken(profile):
    image = plain(200, 100, 50)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(image, kind, icc_profile=profile)
        assert decode(data, 3).tobytes() == decode(encoded(image, kind), 3).tobytes()


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_small_file_that_claims_a_huge_picture_is_left_out(size):
    with pytest.raises(UnreadableImage):
        decode(png(*size, 8, 2, bytes(1000)), in_chans=3)


def test_text_that_unpacks_to_a_gigabyte_is_left_out():
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**27)))
    with pytest.raises(UnreadableImage, match="Decompressed data too large"):
        decode(png(1, 1, 8, 2, bytes(4), bomb), in_chans=3)


def test_a_shard_of_odd_and_broken_files_is_read_to_the_end(tmp_path):
    whole, jpeg = image_bytes(0, size=(50, 40)), image_bytes(1, "JPEG", (50, 40))
    members = {
        "good.png": whole,
        "empty.png": b"",
        "cut.png": whole[: len(whole) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"<html>404</html>",
        "named_png.png": jpeg,
        "named_jpg.jpg": whole,
        "NAMED_TIF.TIF": image_bytes(2, "WEBP"),
        "last.webp": b"RIFF\xff\xff\xff\xffWEBP",
    }
    write_tar(tmp_path / "a.tar", members.items())
    shards = ShardSet.open(str(tmp_path))
    bad = ["empty", "cut", "half", "text", "last"]
    assert [key for key, _ in broken_samples((shards, 0))] == bad
    stream = ImageStream(shards, EvaluationTransform(16), 16, in_chans=3)
    batch = stream.__getitems__(Share(0, np.arange(len(members))))
    assert batch["index"].tolist() == [0, 5, 5, 5, 5, 5, 6, 7, 0]
    assert batch["replaced"].tolist() == [-1, 1, 2, 3, 4, -1, -1, -1, 8]
