import io
import struct

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.decode import TURNS, UPRIGHT, UnreadableImage, decode, open_jpeg


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
    options = {"compression": "tiff_adobe_deflate"} if mode == "YCbCr" else {}
    decoded = decode(encoded(image, kind, **options), in_chans)
    assert (decoded.mode, decoded.size) == ({1: "L", 3: "RGB"}[in_chans], (7, 5))


def test_a_raw_ycbcr_tiff_is_converted_by_pillow_13_and_unreadable_before():
    data = encoded(noise("YCbCr"), "TIFF")
    if Image.open(io.BytesIO(data)).mode == "YCbCr":
        assert decode(data, in_chans=3).mode == "RGB"
    else:  # older ones take it for four bytes a pixel
        with pytest.raises(UnreadableImage, match="truncated"):
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


def photograph(size=(200, 150), mode="RGB", seed=0):
    """Noise with the spectrum of a photograph, 1/f, and some edges."""
    draw = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(size[1])[:, None], np.fft.fftfreq(size[0])[None]
    falloff = 1 / np.hypot(rows, columns).clip(1 / max(size))
    bands = np.fft.fft2(draw.normal(size=(3, size[1], size[0])))
    grey, *tints = np.fft.ifft2(bands * falloff).real
    pixels = np.stack([grey, grey + 0.2 * tints[0], grey + 0.2 * tints[1]], 2)
    pixels = 128 + 45 * (pixels - pixels.mean()) / pixels.std()
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] += 40
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def whole(data, in_chans=3):
    """All pixels by the fast way, at full scale."""
    jpeg = open_jpeg(data)
    region = jpeg and jpeg.region((0, 0, *jpeg.size), jpeg.size, in_chans)
    return region and region.pixels


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize(("mode", "in_chans"), [("RGB", 3), ("L", 3), ("L", 1)])
def test_the_fast_way_decodes_what_pillow_decodes(mode, in_chans, options):
    data = encoded(photograph(mode=mode), "JPEG", quality=90, **options)
    expected = np.asarray(decode(data, in_chans), int).reshape(150, 200, in_chans)
    assert abs(whole(data, in_chans) - expected).max() <= 1


def test_the_fast_way_takes_grey_from_the_file_not_from_its_colours():
    data = encoded(photograph(), "JPEG", quality=95)
    difference = abs(whole(data, 1)[:, :, 0] - np.asarray(decode(data, 1), int))
    assert difference.max() <= 3  # colours out of range are clipped on the way back to grey
    assert difference.mean() < 0.5


@pytest.mark.parametrize("orientation", range(2, 9))
def test_arrays_are_turned_as_images_are(orientation):
    image = noise("RGB")
    expected = np.asarray(image.transpose(UPRIGHT[orientation]))
    assert (TURNS[orientation](np.asarray(image)) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_those_of_the_upright_image(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(), "JPEG", exif=exif)
    upright, jpeg = decode(data, 3), open_jpeg(data)
    assert jpeg.size == upright.size
    box = (30, 11, 120, 140)
    found = jpeg.region(box, (90, 129), 3)
    assert abs(found.pixels - np.asarray(upright.crop(box), int)).max() <= 1
    assert found.pixels.flags.c_contiguous
    assert found.box == (0, 0, 90, 129)


@pytest.mark.parametrize(
    ("box", "size", "shape", "found"),
    [
        ((0, 0, 801, 603), (201, 10), (603, 801), (0, 0, 801, 603)),  # half is too small
        ((0, 0, 801, 603), (200, 10), (302, 401), (0, 0, 400.5, 301.5)),
        ((0, 0, 801, 603), (100, 75), (151, 201), (0, 0, 200.25, 150.75)),
        ((7, 2, 407, 402), (100, 100), (200, 201), (0.5, 0, 200.5, 200)),
        ((7, 2, 407, 402), (50, 50), (101, 101), (0.75, 0.5, 100.75, 100.5)),
        ((0, 0, 800, 600), (10, 10), (75, 100), (0, 0, 100, 75)),  # 1/8 is the smallest
        ((0, 0, 800, 400), (10, 110), (400, 800), (0, 0, 800, 400)),  # one side is not enough
    ],
)
def test_the_scale_leaves_twice_the_size_that_is_needed(box, size, shape, found):
    region = open_jpeg(encoded(photograph((801, 603)), "JPEG")).region(box, size, 3)
    assert region.pixels.shape == (*shape, 3)
    assert region.box == found


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "CMYK"])
def test_the_fast_way_leaves_other_images_to_pillow(kind):
    cmyk = kind == "CMYK"
    assert open_jpeg(encoded(noise(kind if cmyk else "RGB"), "JPEG" if cmyk else kind)) is None


@pytest.mark.filterwarnings("ignore")  # Pillow's, of broken metadata
@pytest.mark.parametrize("progressive", [False, True])
def test_the_same_jpegs_are_unreadable_on_both_ways(progressive):
    data = encoded(photograph((64, 48)), "JPEG", progressive=progressive)
    draw = np.random.default_rng(0)
    damaged = [data[:size] for size in range(0, len(data), 37)]
    for place in range(400):
        mutated = bytearray(data)
        mutated[draw.integers(200 if place % 2 else len(data))] = draw.integers(256)
        damaged.append(bytes(mutated))
    taken = 0
    for each in damaged:
        found = whole(each)
        if found is None:
            continue  # Pillow decides
        expected = np.asarray(decode(each, 3), int)
        assert abs(found - expected).max() <= 1
        taken += 1
    assert 0 < taken < 400


def test_a_jpeg_that_is_cut_short_is_not_filled_up():
    data = encoded(photograph(), "JPEG")
    for size in (len(data) - 2, len(data) - 200, len(data) // 2):
        assert open_jpeg(data[:size]) is not None
        assert whole(data[:size]) is None


def test_a_jpeg_bomb_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(noise("RGB"), "JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert open_jpeg(data) is None
    with pytest.raises(UnreadableImage, match="DecompressionBomb"):
        decode(data, in_chans=3)
