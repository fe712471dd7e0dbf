"""`shards create` encodes again what it is asked to, and copies the rest."""

import io

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.pack import encode
from tests.data.pixels.pictures import encoded, noise
from tests.data.shards.tars import image_bytes


@pytest.mark.parametrize(
    ("name", "size", "options", "kind", "result"),
    [
        ("a.png", (80, 40), {"short_side": 20}, "PNG", (40, 20)),
        ("a.jpg", (40, 90), {"short_side": 20}, "JPEG", (20, 45)),
        ("a.webp", (80, 40), {"short_side": 20}, "JPEG", (40, 20)),
        ("a.tif", (80, 40), {"short_side": 20}, "PNG", (40, 20)),
        ("a.png", (80, 40), {"short_side": 20, "quality": 50}, "JPEG", (40, 20)),
        ("a.png", (80, 40), {"quality": 50}, "JPEG", (80, 40)),
    ],
)
def test_images_are_encoded_again_only_as_asked(name, size, options, kind, result):
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
    data = image_bytes(0, kinds[name[2:]], size)
    extension, encoded = encode(name, data, PackOptions(**options))
    image = Image.open(io.BytesIO(encoded))
    assert (image.format, image.size) == (kind, result)
    assert extension == {"PNG": "png", "JPEG": "jpg"}[kind]
    small = PackOptions(short_side=40)
    assert encode(name, data, small) == (name[2:], data)


def test_images_above_the_limit_of_pixels_are_unreadable():
    data = encoded(noise("L", (40, 20)), "PNG")
    assert encode("a.png", data, PackOptions(max_pixels=800)) == ("png", data)
    with pytest.raises(UnreadableImage, match="40 x 20 pixels, more than max_pixels=799"):
        encode("a.png", data, PackOptions(max_pixels=799))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_image_is_turned_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise("L", (40, 20)), kind, exif=exif)
    _, small = encode(f"a.{kind.lower()}", data, PackOptions("a", None, None, 10, None, 0))
    whole = decode(data, in_chans=1)
    expected = whole.resize([side // 2 for side in whole.size], Image.Resampling.BICUBIC)
    assert decode(small, in_chans=1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
@pytest.mark.parametrize("quality", [None, 80])
def test_every_kind_of_pixel_can_be_scaled(mode, quality):
    pixels = np.random.default_rng(0).integers(0, 2**16, (30, 60), dtype=np.uint16)
    if mode == "I;16":
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray((pixels // 257).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    options = PackOptions(short_side=10, quality=quality)
    extension, data = encode("x.png", buffer.getvalue(), options)
    scaled = Image.open(io.BytesIO(data))
    assert scaled.size == (20, 10)
    assert extension == ("png" if quality is None else "jpg")
    if quality is None and mode in ("L", "LA", "RGBA", "I;16"):
        assert scaled.mode == mode
