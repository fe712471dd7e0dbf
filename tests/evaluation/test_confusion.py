import numpy as np
import pytest

from ssl_swin.evaluation.confusion import draw_confusion
from ssl_swin.evaluation.drawing import RIGHT, WRONG, blend


def matrix(num, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 3, (num, num)) + 20 * np.eye(num, dtype=np.int64)


@pytest.mark.parametrize("num", [1, 2, 14, 100, 101, 1000])
def test_a_picture_of_any_number_of_classes_can_be_looked_at(num):
    names = [f"class number {place}" for place in range(num)]
    image = draw_confusion(matrix(num), names, "a run on a set: top-1 90.0 %")
    assert image.mode == "RGB"
    assert 900 <= image.width <= 3500
    assert 400 <= image.height <= 2600


def test_right_is_blue_and_wrong_is_red_the_darker_the_larger_the_share():
    confusion = np.array([[10, 0], [5, 5]])
    image = draw_confusion(confusion, ["a", "b"], "t")
    colours = {tuple(one) for one in np.asarray(image).reshape(-1, 3).tolist()}
    half = 0.08 + 0.92 * 0.5**0.6
    assert {blend(RIGHT, 1.0), blend(RIGHT, half), blend(WRONG, half)} <= colours
    assert blend(WRONG, 1.0) not in colours


def test_mistakes_are_listed_beside_the_matrix():
    without = draw_confusion(np.diag([30, 4]), ["a", "b"], "t")
    with_one = draw_confusion(np.array([[30, 1], [0, 4]]), ["a", "b"], "t")
    lists = [np.asarray(image)[:, image.width - 780 :] for image in (without, with_one)]
    assert (lists[1] < 128).sum() > 2 * (lists[0] < 128).sum()
