"""The most confident mistakes as a picture: each image, what it is, what it is said to be."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ssl_swin.evaluation.drawing import GREY, PAPER, WRONG, draw_text, shortened, thumbnail

NUM_SHOWN = 24
_COLUMNS, _THUMBNAIL, _GAP, _MARGIN = 6, 256, 28, 48  # pixels, but for the first
_TEXT = 112  # pixels below a thumbnail
_RED = "#{:02x}{:02x}{:02x}".format(*WRONG)


@dataclass(frozen=True)
class Mistake:
    """An image that is said to be of another class than it is."""

    image: Image.Image
    name: str
    """Of the image: its key."""
    right: str
    said: str
    probability: float
    """Of what is said, 0 to 1."""


def draw_mistakes(mistakes: Sequence[Mistake], title: str) -> Image.Image:
    """Draw mistakes in rows, in their order; without any, the title alone."""
    columns = max(4, min(_COLUMNS, len(mistakes)))
    rows = -(-len(mistakes) // columns)
    width = 2 * _MARGIN + columns * _THUMBNAIL + (columns - 1) * _GAP
    height = 2 * _MARGIN + 64 + rows * (_THUMBNAIL + _TEXT + _GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw_text(sheet, (_MARGIN, _MARGIN + 14), shortened(title, 30, width - 2 * _MARGIN), 30)
    for place, mistake in enumerate(mistakes):
        row, column = divmod(place, columns)
        left = _MARGIN + column * (_THUMBNAIL + _GAP)
        top = _MARGIN + 64 + row * (_THUMBNAIL + _TEXT + _GAP)
        sheet.paste(thumbnail(mistake.image, _THUMBNAIL), (left, top))
        line, end = top + _THUMBNAIL + 22, left + _THUMBNAIL
        percent = f"{100 * mistake.probability:.1f} %"
        said = shortened(f"said: {mistake.said}", 21, _THUMBNAIL - 84)
        draw_text(sheet, (left, line), said, 21, _RED)
        draw_text(sheet, (end, line), percent, 21, _RED, anchor="rm")
        right = shortened(f"is: {mistake.right}", 21, _THUMBNAIL)
        draw_text(sheet, (left, line + 30), right, 21)
        name = shortened(mistake.name, 16, _THUMBNAIL)
        draw_text(sheet, (left, line + 58), name, 16, GREY)
    return sheet
