"""The fast way of JPEGs against the reference, and what it leaves to Pillow."""

import numpy as np
import pytest
from PIL import Image

from ssl_swin.data.pixels.decode import UPRIGHT, UnreadableImage
from ssl_swin.data.pixels.formats import decode
from ssl_swin.data.pixels.jpeg import TURNS, open_jpeg
from tests.data.pixels.pictures import encoded, noise, photograph


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
