"""Images as the world has them: each comes out as a person would see it, or is left out by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode
from tests.data.pixels.pictures import encoded, noise, png

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


def plain(*colour, mode="RGB"):
    return Image.new(mode, (16, 16), colour)


def pixel(data):
    return np.asarray(decode(data, in_chans=3))[8, 8].astype(int)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBA", "LA"])
def test_every_kind_of_image_comes_out_in_the_colours_asked_for(mode, in_chans):
    image = noise("L").convert("1") if mode == "1" else noise(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    options = {"compression": "tiff_adobe_deflate"} if mode == "YCbCr" else {}
    decoded = decode(encoded(image, kind, **options), in_chans)
    assert (decoded.mode, decoded.size) == ({1: "L", 3: "RGB"}[in_chans], (7, 5))


def test_a_raw_ycbcr_tiff_is_converted_by_pillow_13_and_unreadable_before():
    data = encoded(noise("YCbCr"), "TIFF")
    if Image.open(io.BytesIO(data)).mode == "YCbCr":
        assert decode(data, in_chans=3).mode == "RGB"
    else:  # older ones take it for four bytes a pixel
        with pytest.raises(UnreadableImage, match="other colours than grey and RGB"):
            decode(data, in_chans=3)


@pytest.mark.parametrize(("mode", "in_chans"), [("RGB", 3), ("L", 1)])
def test_pixels_are_kept_when_nothing_is_to_be_converted(mode, in_chans):
    image = noise(mode)
    assert decode(encoded(image), in_chans).tobytes() == image.tobytes()


def test_grey_becomes_three_equal_channels():
    image = noise("L")
    assert all(
        band.tobytes() == image.tobytes() for band in decode(encoded(image), in_chans=3).split()
    )


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_becomes_white(kind):
    black = {"RGBA": (0, 0, 0, 0), "LA": (0, 0), "P": 0, "RGB": (0, 0, 0), "L": 0}[kind]
    image = Image.new(kind, (4, 4), black)
    options = {} if kind.endswith("A") else {"transparency": black}
    data = encoded(image, **options)
    assert np.asarray(decode(data, in_chans=3)).min() == 255
    assert np.asarray(decode(data, in_chans=1)).min() == 255


def test_half_transparent_red_is_laid_on_white():
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert decode(encoded(image), in_chans=3).getpixel((0, 0)) == (255, 127, 127)


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


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", TURNED)
def test_every_format_is_turned_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.kron(np.array(TURNED[1], np.uint8), np.ones((8, 8), np.uint8))  # JPEG's blocks
    data = encoded(Image.fromarray(stored), kind, exif=exif, **LOSSLESS.get(kind, {}))
    found = np.asarray(decode(data, in_chans=1)).astype(int)[4::8, 4::8]
    assert abs(found - TURNED[orientation]).max() <= 2


def test_exif_fields_that_are_not_what_they_say_do_no_harm():
    entries = [(0x0112, 3, 1, 6), (0x011A, 2, 4, 0x41424344)]  # rotated; a resolution that is text
    body = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + body + bytes(4)
    assert decode(encoded(noise("RGB", (7, 5)), "JPEG", exif=exif), in_chans=3).size == (5, 7)


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


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(kind, byte_order, in_chans):
    values = np.array([[0, 257, 32896, 65535]], dtype=f"{byte_order}u2")
    mode = "I;16" if byte_order == "<" else "I;16B"
    image = Image.frombytes(mode, (4, 1), values.tobytes())
    found = np.asarray(decode(encoded(image, kind), in_chans)).reshape(4, in_chans)
    assert found.tolist() == [[level] * in_chans for level in (0, 1, 128, 255)]


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


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"x"]
)
def test_a_colour_profile_changes_nothing_even_if_it_is_broken(profile):
    image = plain(200, 100, 50)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(image, kind, icc_profile=profile)
        assert decode(data, 3).tobytes() == decode(encoded(image, kind), 3).tobytes()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\0\0 ftypheic\0\0", "it begins like HEIC: export it as JPEG"),
        (b"\n<!DOCTYPE html>", "a web page: a download that failed"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (bytes(132)[:128] + b"DICM", "DICOM"),
        (bytes(999), "it holds nothing but zeros"),
        (b"some words", "cannot identify image file"),
    ],
)
def test_of_what_is_no_image_it_is_said_what_it_looks_like(data, what):
    with pytest.raises(UnreadableImage, match=what) as error:
        decode(data, 3)
    assert "0x" not in str(error.value)
    assert "_io" not in str(error.value)
