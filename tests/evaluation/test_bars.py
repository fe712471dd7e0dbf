import numpy as np
import pytest

from ssl_swin.evaluation.bars import MOST_BARS, draw_accuracies
from ssl_swin.evaluation.drawing import RIGHT


def length(image):
    """How many pixels of each row are of the colour of a bar."""
    return (np.asarray(image) == RIGHT).all(axis=2).sum(axis=1)


def test_the_lowest_comes_first_and_bars_are_as_long_as_the_shares():
    image = draw_accuracies(np.array([4, 0, 1]), np.array([4, 0, 4]), ["a", "none", "b"], "t")
    rows = length(image)
    bars = rows[np.flatnonzero(np.diff(rows, prepend=0) > 0)]
    assert bars.tolist() == [141, 561]  # a quarter and all of 560 pixels, and the first of each


@pytest.mark.parametrize("num", [1, 14, 1000])
def test_a_picture_of_any_number_of_classes_can_be_looked_at(num):
    right = np.arange(num)
    names = [f"a class with a long name, number {place}, of some thing" for place in range(num)]
    image = draw_accuracies(right, right + 3, names, "step 1,000: 30 held-out images, top-1 50.0 %")
    assert 600 <= image.width <= 1300
    assert image.height == 186 + 34 * min(num, MOST_BARS)
