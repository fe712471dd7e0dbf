import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssl_swin.evaluation import drawing
from ssl_swin.features import panel
from ssl_swin.features.panel import Neighbour, Query, choose_queries, draw_neighbours

RED = tuple(drawing.WRONG)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("num", [1, 4, 10, 400])
def test_half_of_the_queries_are_right_as_far_as_there_are(share, num):
    right = np.random.default_rng(num).random(num) < share
    chosen = choose_queries(right, seed=0)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(10, num)
    good = right[chosen].sum()
    wanted = min(5, right.sum()) if (~right).sum() >= 5 else min(10, num) - (~right).sum()
    assert good == max(wanted, min(10, num) - (~right).sum())


def test_queries_depend_on_the_seed_and_two_networks_share_them():
    right = np.random.default_rng(0).random(300) < 0.5
    chosen = choose_queries(right, 0)
    assert chosen == choose_queries(right, 0) != choose_queries(right, 1)
    assert set(chosen) & set(choose_queries(np.random.default_rng(1).random(300) < 0.5, 0))


def queries(num=3, kind="cat", num_neighbours=8, size=(60, 40)):
    image = Image.new("RGB", size, "#336699")
    nearest = [
        Neighbour(image, kind if place % 2 else "dog", 0.987654 - place / 100)
        for place in range(num_neighbours)
    ]
    return [Query(image, kind, "dog", nearest) for _ in range(num)]


@pytest.mark.parametrize("size", [(60, 40), (500, 700)])
def test_thumbnails_are_drawn_as_the_whole_images_are(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = Image.fromarray(pixels)
    small = drawing.thumbnail(whole, panel.THUMBNAIL)
    of_whole, of_small = (
        draw_neighbours([Query(image, "a", "a", [Neighbour(image, "a", 1.0)])], "x")
        for image in (whole, small)
    )
    assert of_whole.tobytes() == of_small.tobytes()


def test_another_class_has_a_red_frame_and_the_same_class_none():
    sheet = draw_neighbours(queries(), "title")
    step, first = panel.THUMBNAIL + panel._GAP, panel._MARGIN + panel.THUMBNAIL + panel._APART
    top = panel._MARGIN + 128
    for place in range(8):
        frame = sheet.getpixel((first + place * step + 2, top + 2))
        assert (frame == RED) == (place % 2 == 0)


@pytest.mark.parametrize("kind", ["cat", "a class with a name that is very much longer than it is"])
@pytest.mark.parametrize("num_neighbours", [1, 3, 8])
def test_no_text_is_over_another_or_over_the_edge(kind, num_neighbours, monkeypatch):
    boxes, draw = [], ImageDraw.ImageDraw.text

    def noted(self, place, text, **how):
        boxes.append(self.textbbox(place, text, font=how["font"], anchor=how["anchor"]))
        draw(self, place, text, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    sheet = draw_neighbours(queries(4, kind, num_neighbours), "A title " * 40)
    assert len(boxes) == 4 + 4 * (2 + 2 * num_neighbours)
    for at, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left <= right <= sheet.width
        assert 0 <= top <= bottom <= sheet.height
        for other in boxes[:at]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (boxes[at], other)


def test_without_a_query_there_is_a_title():
    assert min(draw_neighbours([], "title").size) > 100
