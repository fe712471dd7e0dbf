import numpy as np
import pytest
from PIL import Image

from ssl_swin.evaluation import drawing
from ssl_swin.evaluation.drawing import blend, draw_text, shortened, text_size, upright_text


def ink(image):
    """How many pixels are not white."""
    return int((np.asarray(image.convert("L")) < 250).sum())


def test_text_is_drawn_within_the_size_that_is_told():
    width, height = text_size("Shirt, grey", 30)
    image = Image.new("RGB", (300, 100), "white")
    draw_text(image, (20, 50), "Shirt, grey", 30)
    rows, columns = np.nonzero(np.asarray(image.convert("L")) < 250)
    assert columns.min() >= 20
    assert columns.max() <= 20 + width
    assert 50 - height / 2 <= rows.min() < rows.max() <= 50 + height / 2
    upright = upright_text("Shirt, grey", 30)
    assert upright.width == height
    assert ink(upright) > 100


@pytest.mark.parametrize("fonts", [drawing._SYSTEM_FONTS, ()])
def test_letters_that_the_own_font_lacks_are_readable_with_and_without_fonts(monkeypatch, fonts):
    monkeypatch.setattr(drawing, "_SYSTEM_FONTS", fonts)
    drawing._system_fonts.cache_clear()
    image = Image.new("RGB", (300, 60), "white")
    draw_text(image, (10, 30), "Straße, Hündin, Привет", 20)
    drawing._system_fonts.cache_clear()
    assert ink(image) > 100
    if not fonts:
        plain = Image.new("RGB", (300, 60), "white")
        draw_text(plain, (10, 30), "Stra?e, Hundin, ??????", 20)
        assert ink(image) == ink(plain)


def test_a_long_text_loses_its_middle():
    text = "a rather long name of a class, number 17"
    cut = shortened(text, 20, 200)
    assert cut.startswith("a rath")
    assert cut.endswith("17")
    assert text_size(cut, 20)[0] <= 200
    assert shortened(text, 20, 2000) == text
    assert shortened(text, 20, 1) == ""


def test_a_colour_is_blended_with_white():
    assert blend((10, 110, 210), 0) == (255, 255, 255)
    assert blend((10, 110, 210), 1) == (10, 110, 210)
