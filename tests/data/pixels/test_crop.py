"""Crops: never outside, drawn as torchvision draws them, centred as SimMIM does."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from ssl_swin.data.pixels.array_files import DTYPES
from ssl_swin.data.pixels.crop import (
    INTERPOLATION,
    Crop,
    centre_crop,
    crop_box,
    cut,
    cut_bands,
    cut_region,
)
from ssl_swin.data.pixels.jpeg import Region
from ssl_swin.data.pixels.picture import there
from tests.data.pixels.test_array_files import numbers

SIZES = [(224, 224), (640, 480), (28, 28), (1, 1), (1, 500), (3000, 2), (90, 300), (7, 5)]
RATIO = (3 / 4, 4 / 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [(0.67, 1.0), (0.08, 1.0), (1.0, 1.0), (0.001, 0.01)])
@pytest.mark.parametrize("ratio", [RATIO, (1.0, 1.0), (0.2, 0.3), (3.0, 4.0)])
def test_crops_are_never_empty_and_stay_inside(size, scale, ratio):
    for index in range(40):
        left, top, right, bottom = crop_box(size, scale, ratio, 0, 0, index)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


@pytest.mark.parametrize("size", [(224, 224), (640, 480)])
@pytest.mark.parametrize("scale", [(0.67, 1.0), (0.08, 0.5)])
def test_crops_keep_to_scale_and_ratio_and_reach_their_ends(size, scale):
    boxes = np.array([crop_box(size, scale, RATIO, 0, 0, index) for index in range(2000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = width * height / (size[0] * size[1]), width / height
    rounding = 1 / height.min()
    assert scale[0] - rounding < area.min() < scale[0] + 0.02
    assert scale[1] - 0.07 < area.max() < scale[1] + rounding
    assert (1 - rounding) * RATIO[0] < ratio.min() < 0.95
    assert 1.25 < ratio.max() < (1 + rounding) * RATIO[1]


@pytest.mark.parametrize(("scale", "size"), [((0.67, 1.0), (640, 480)), ((0.08, 1.0), (224, 224))])
def test_crops_are_distributed_as_torchvision_draws_them(scale, size):
    torch.manual_seed(0)
    image = torch.empty(3, size[1], size[0])
    theirs = np.array(
        [RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(1500)]
    )  # top, left, height, width
    ours = np.array([crop_box(size, scale, RATIO, 1, 0, index) for index in range(1500)])
    ours = np.stack([ours[:, 1], ours[:, 0], ours[:, 3] - ours[:, 1], ours[:, 2] - ours[:, 0]], 1)
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    gap = np.quantile(ours, levels, axis=0) - np.quantile(theirs, levels, axis=0)
    assert abs(gap).max() < 0.06 * max(size)


@pytest.mark.parametrize("size", [(1, 500), (3000, 2), (90, 300)])
def test_images_too_narrow_are_cropped_at_their_centre_as_torchvision_does(size):
    box = crop_box(size, (0.9, 1.0), RATIO, 0)
    top, left, height, width = RandomResizedCrop.get_params(
        torch.empty(3, size[1], size[0]), [0.9, 1.0], list(RATIO)
    )
    assert box == (left, top, left + width, top + height)


BOX, TURNS = (3, 5, 27, 21), [(0, False), (1, False), (2, True), (3, True)]


@pytest.mark.parametrize(("turns", "vflip"), TURNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_that_are_not_resized_stay_to_the_last_bit(dtype, turns, vflip):
    array = numbers((30, 40, 14), dtype)
    crop = Crop(BOX, (24, 16), (0, 0, 24, 16), "bilinear", True, vflip, turns)
    wanted = array[5:21, 3:27][:, ::-1]
    wanted = wanted[::-1] if vflip else wanted
    np.testing.assert_array_equal(cut_bands(array, crop), np.rot90(wanted, turns), strict=True)


@pytest.mark.parametrize(("turns", "vflip"), TURNS)
def test_all_ways_mirror_and_turn_alike(turns, vflip):
    array = numbers((30, 40, 3), "uint8")
    crop = Crop(BOX, (24, 16), (1, 2, 21, 14), "bilinear", True, vflip, turns)
    wanted = np.asarray(cut(Image.fromarray(array), crop))
    np.testing.assert_array_equal(cut_bands(array, crop), wanted)
    left, top, right, bottom = BOX
    region = Region(array[top:bottom, left:right], (0, 0, right - left, bottom - top))
    np.testing.assert_array_equal(cut_region(region, crop), wanted)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_bands_are_resized_in_float32_and_whole_numbers_rounded(interpolation):
    array = numbers((30, 40, 5), "uint16")
    crop = Crop((0, 0, 40, 30), (16, 12), (0, 0, 16, 12), interpolation)
    whole, fractions = cut_bands(array, crop), cut_bands(array.astype(np.float32), crop)
    assert (whole.dtype, fractions.dtype) == (np.uint16, np.float32)
    np.testing.assert_array_equal(whole, fractions.round().clip(0, 65535))
    grey = Image.fromarray(array[:, :, 2].astype(np.float32))
    pillows = np.asarray(grey.resize((16, 12), INTERPOLATION[interpolation]))
    np.testing.assert_allclose(fractions[:, :, 2], pillows, rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "none"), [("float32", np.nan), ("float32", np.inf), ("int16", -9)]
)
def test_a_pixel_made_of_one_without_a_number_holds_none_and_others_are_as_without(dtype, none):
    array = np.abs(numbers((32, 32, 2), "int16") // 2).astype(dtype)  # nothing else is -9
    crop = Crop((0, 0, 32, 32), (16, 16), (0, 0, 16, 16), "bilinear")
    whole = cut_bands(array, crop)
    array[9, 20, 1] = none
    nodata = -9 if dtype == "int16" else None
    found = cut_bands(array, crop, nodata)
    lacks = found == -9 if dtype == "int16" else np.isnan(found)
    rows, cols, chans = np.nonzero(lacks)
    assert {*chans} == {1}
    assert {*rows} <= {3, 4, 5}
    assert {*cols} <= {9, 10, 11}
    assert lacks[4, 10, 1]
    np.testing.assert_array_equal(found[~lacks], whole[~lacks])


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float16", -9999.0), ("float16", 1e6), ("float32", -1.7e308)]
)
def test_the_number_that_stands_for_none_is_the_one_that_the_type_can_hold(dtype, nodata):
    array = np.ones((8, 8, 2), dtype)
    with np.errstate(over="ignore"):
        array[:4] = nodata
    found = cut_bands(array, Crop((0, 0, 8, 8), (4, 4), (0, 0, 4, 4), "bilinear"), nodata)
    assert (found[0] == array[0, 0, 0]).all()
    assert (found[3] == 1).all()
    assert set(np.unique(found).tolist()) == {1.0, float(array[0, 0, 0])}
    assert there(found, nodata)[3].all()
    assert not there(found, nodata)[0].any()


@pytest.mark.parametrize("size", [(640, 480), (100, 800), (256, 160), (57, 31)])
def test_the_centre_of_two_sides_covers_both_and_keeps_the_shape(size):
    crop = centre_crop(size, (160, 256), 0.875)
    left, top, right, bottom = crop.window
    assert (right - left, bottom - top) == (256, 160)
    assert min(left, top) >= 0
    assert right <= crop.size[0]
    assert bottom <= crop.size[1]
    assert crop.size[0] / size[0] == pytest.approx(crop.size[1] / size[1], rel=0.02)
    assert crop.size[0] == int(256 / 0.875) or crop.size[1] == int(160 / 0.875)


@pytest.mark.parametrize("side", [32, 192, 224])
@pytest.mark.parametrize("size", [(640, 480), (100, 800), (57, 31)])
def test_of_equal_sides_the_centre_is_that_of_one_number(side, size):
    assert centre_crop(size, (side, side), 0.875) == centre_crop(size, side, 0.875)
