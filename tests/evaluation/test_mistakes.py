import numpy as np
import pytest
from PIL import Image

from ssl_swin.evaluation.mistakes import Mistake, draw_mistakes


def mistake(size=(300, 200), colour=(10, 200, 30)):
    image = Image.new("RGB", size, colour)
    return Mistake(image, "some/long/key/of/an/image", "cat", "a dog of a very long name", 0.987)


@pytest.mark.parametrize(("num", "rows"), [(0, 0), (1, 1), (6, 1), (7, 2), (24, 4)])
def test_mistakes_stand_in_rows(num, rows):
    sheet = draw_mistakes([mistake()] * num, "a title")
    assert sheet.height == draw_mistakes([], "t").height + 396 * rows
    pixels = np.asarray(sheet).reshape(-1, 3)
    shown = (pixels == (10, 200, 30)).all(axis=1).sum()
    assert shown == pytest.approx(num * 256 * 256 * 2 / 3, rel=0.02)  # all of each image


def test_small_and_grey_images_are_shown_too():
    grey = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    small = Mistake(grey, "k", "a", "b", 1.0)
    pixels = np.asarray(draw_mistakes([small], "t")).reshape(-1, 3)
    assert (pixels == 0).all(axis=1).sum() == 2 * 128 * 128  # enlarged without smoothing
