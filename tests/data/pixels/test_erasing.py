import random

import numpy as np
import pytest
import torch
from timm.data.random_erasing import RandomErasing

from ssl_swin.data.pixels.erasing import erased_box

NOTHING = (0, 0, 0, 0)


def boxes(num, size=(96, 96), probability=1.0, seed=0, epoch=0):
    return [erased_box(size, probability, seed, epoch, index) for index in range(num)]


def test_a_box_depends_on_its_key_alone():
    first = boxes(50)
    random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    assert boxes(50)[::-1] == first[::-1]
    for other in (boxes(50, seed=1), boxes(50, epoch=1)):
        assert sum(a == b for a, b in zip(first, other, strict=True)) < 3


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_a_share_of_the_images_is_erased(probability):
    share = np.mean([box != NOTHING for box in boxes(2000, probability=probability)])
    assert abs(share - probability) < 0.03
    always, rarely = boxes(200), boxes(200, probability=0.3)
    assert all(box in (NOTHING, whole) for box, whole in zip(rarely, always, strict=True))


@pytest.mark.parametrize("size", [(32, 48), (8, 8), (3, 3), (1, 1)])
def test_a_box_lies_inside_its_image_and_is_smaller(size):
    for top, left, height, width in boxes(300, size):
        assert 0 <= top <= size[0] - height
        assert 0 <= left <= size[1] - width
        assert (height, width) == (0, 0) or (0 < height < size[0] and 0 < width < size[1])


def test_boxes_are_spread_as_timms_are():
    random.seed(0)
    timm = RandomErasing(1.0, mode="const", device="cpu")
    images = timm(torch.ones(3000, 1, 96, 96))[:, 0] == 0  # (num, height, width)
    rows, cols = images.any(2), images.any(1)
    theirs = torch.stack([rows.int().argmax(1), cols.int().argmax(1), rows.sum(1), cols.sum(1)], 1)
    ours = np.array(boxes(3000), float)
    for mine, other in zip(measures(ours), measures(theirs.double().numpy()), strict=True):
        both = np.sort(np.concatenate([mine, other]))
        parts = [np.searchsorted(np.sort(one), both, "right") / len(one) for one in (mine, other)]
        assert abs(parts[0] - parts[1]).max() < 0.045  # Kolmogorov-Smirnov, 0.5 %


def measures(found):
    """Area, log of the aspect, and where the box is in what is left."""
    top, left, height, width = found.T
    return (
        height * width,
        np.log(height / width),
        top / np.maximum(96 - height, 1),
        left / np.maximum(96 - width, 1),
    )
