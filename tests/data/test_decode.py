import io
import struct

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.decode import UnreadableImage, decode


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode, size=(7, 5)):
    shape = (size[1], size[0], len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBA", "LA"])
def test_every_kind_of_image_comes_out_in_the_colours_asked_for(mode, in_chans):
    image = noise("L").convert("1") if mode == "1" else noise(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    decoded = decode(encoded(image, kind), in_chans)
    assert (decoded.mode, decoded.size) == ({1: "L", 3: "RGB"}[in_chans], (7, 5))


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


@pytest.mark.parametrize("in_chans", [1, 3])
def test_sixteen_bits_are_scaled_not_clipped(in_chans):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode(encoded(Image.fromarray(values)), in_chans)).reshape(4, -1)
    assert decoded[:, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    turned = {
        1: [[0, 1, 2], [3, 4, 5]],
        2: [[2, 1, 0], [5, 4, 3]],
        3: [[5, 4, 3], [2, 1, 0]],
        4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]],
        6: [[3, 0], [4, 1], [5, 2]],
        7: [[5, 2], [4, 1], [3, 0]],
        8: [[2, 5], [1, 4], [0, 3]],
    }[orientation]
    assert np.asarray(decode(encoded(image, exif=exif), in_chans=1)).tolist() == turned


@pytest.mark.filterwarnings("ignore")  # Pillow's, of broken metadata
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_broken_images_are_unreadable_and_nothing_else(kind):
    data = encoded(noise("RGB", (40, 40)), kind)
    for size in (1, 10, 40, len(data) // 2):
        with pytest.raises(UnreadableImage):
            decode(data[:size], in_chans=3)
    draw = np.random.default_rng(0)
    for _ in range(100):
        mutated = bytearray(data)
        for place in draw.integers(0, min(len(data), 200), 3):
            mutated[place] = draw.integers(256)
        try:
            assert decode(bytes(mutated), in_chans=3).mode == "RGB"
        except UnreadableImage:
            continue


@pytest.mark.parametrize("data", [b"", b"\0", b"no image", bytes(1000)])
def test_what_is_no_image_is_unreadable(data):
    with pytest.raises(UnreadableImage):
        decode(data, in_chans=3)


def test_exif_fields_that_are_not_what_they_say_do_no_harm():
    entries = [(0x0112, 3, 1, 6), (0x011A, 2, 4, 0x41424344)]  # rotated; a resolution that is text
    body = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + body + bytes(4)
    assert decode(encoded(noise("RGB", (7, 5)), "JPEG", exif=exif), in_chans=3).size == (5, 7)


def test_a_decompression_bomb_is_unreadable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnreadableImage, match="DecompressionBomb"):
        decode(encoded(noise("RGB")), in_chans=3)
