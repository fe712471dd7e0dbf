"""Text and colours of pictures, by Pillow."""

import unicodedata
from functools import cache

from PIL import Image, ImageDraw, ImageFont, ImageOps, features

INK, GREY, PAPER, EMPTY = "#1f2933", "#7b8794", "#ffffff", "#f3f4f6"
RIGHT, WRONG = (27, 98, 165), (200, 55, 70)  # blue and red
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
)
_SMALL = 96  # pixels of an image that is enlarged without smoothing
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def blend(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """Return a colour between white (share 0) and itself (share 1)."""
    red, green, blue = (round(255 + (one - 255) * share) for one in colour)
    return red, green, blue


def text_size(text: str, size: int) -> tuple[int, int]:
    """Return width and height in pixels of a line of text; the height is the same for all texts."""
    text, font = _drawn(text, size)
    return round(font.getlength(text)), round(1.3 * size)


def draw_text(
    image: Image.Image,
    place: tuple[float, float],
    text: str,
    size: int,
    fill: str = INK,
    anchor: str = "lm",
) -> None:
    """Draw a line of text; `anchor` is Pillow's."""
    text, font = _drawn(text, size)
    ImageDraw.Draw(image).text(place, text, font=font, fill=fill, anchor=anchor)


def upright_text(text: str, size: int) -> Image.Image:
    """Return a picture of a line of text that reads from below upwards."""
    width, height = text_size(text, size)
    image = Image.new("RGB", (width + 2, height), PAPER)
    draw_text(image, (1, height / 2), text, size)
    return image.transpose(Image.Transpose.ROTATE_90)


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """Return all of an image in a square of so many pixels."""
    smooth = Image.Resampling.LANCZOS if max(image.size) > _SMALL else Image.Resampling.NEAREST
    return ImageOps.pad(image.convert("RGB"), (side, side), smooth, EMPTY)


def shortened(text: str, size: int, width: int) -> str:
    """Cut a text in its middle so that it takes no more than so many pixels."""
    if text_size(text, size)[0] <= width:
        return text
    for num in range(len(text) - 1, 0, -1):
        cut = f"{text[: (num + 1) // 2]}...{text[len(text) - num // 2 :]}"
        if text_size(cut, size)[0] <= width:
            return cut
    return ""


def _drawn(text: str, size: int) -> tuple[str, Font]:
    """Return a text as a font of this machine can draw it, and the font.

    Pillow brings a font for ASCII along. Other letters need one of the system's; without one they
    lose their accents, or are question marks.
    """
    own = _own_font(size)
    if text.isascii():
        return text, own
    for font in _system_fonts(size):
        if all(_has(font, one) for one in set(text)):
            return text, font
    plain = unicodedata.normalize("NFKD", text)
    kept = (one for one in plain if not unicodedata.combining(one))
    return "".join(one if one.isascii() else "?" for one in kept), own


@cache
def _own_font(size: int) -> Font:
    return ImageFont.load_default(size if features.check("freetype2") else None)


@cache
def _system_fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    found = []
    for name in _SYSTEM_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether a font draws a letter otherwise than one that it lacks."""
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
