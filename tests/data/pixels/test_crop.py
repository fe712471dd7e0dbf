"""Crops: never outside, drawn as torchvision draws them, centred as SimMIM does."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from ssl_swin.data.pixels.crop import crop_box

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
