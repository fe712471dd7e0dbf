"""Images and their nearest neighbours as a picture: where people rather look than read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ssl_swin.draw import Purpose, permutation
from ssl_swin.evaluation.drawing import GREY, PAPER, WRONG, draw_text, shortened, thumbnail

NUM_QUERIES, NUM_SHOWN = 10, 8
THUMBNAIL, _GAP, _MARGIN, _APART = 192, 24, 48, 72  # pixels
_TEXT, _SIZE, _FRAME = 68, 19, 6
_RED = "#{:02x}{:02x}{:02x}".format(*WRONG)


@dataclass(frozen=True)
class Neighbour:
    """A training image beside a query."""

    image: Image.Image
    """Of any size; a thumbnail will do."""
    kind: str
    """Its class."""
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True)
class Query:
    """A test image, and what is nearest to it."""

    image: Image.Image
    kind: str
    """Its class."""
    said: str
    """The class that its neighbours say."""
    neighbours: Sequence[Neighbour]
    """The nearest first."""


def choose_queries(right: np.ndarray, seed: int, num: int = NUM_QUERIES) -> list[int]:
    """Draw test images, half of them such that are right, as far as there are; in their order.

    Args:
        right: Whether each test image is right, bool (m,).
        seed: Of the draw. Two networks are shown the same images as far as both get them right,
            or both wrong.
        num: Images in all, if there are as many.
    """
    order = permutation(len(right), Purpose.QUERIES, seed)  # (m,)
    good, bad = order[right[order]], order[~right[order]]
    num_good = max(num // 2, num - len(bad))
    chosen = [*good[:num_good], *bad[: num - min(num_good, len(good))]]
    return sorted(map(int, chosen))


def draw_neighbours(queries: Sequence[Query], title: str) -> Image.Image:
    """Draw each query in a row with its neighbours; a red frame is around another class."""
    num = max((len(query.neighbours) for query in queries), default=0)
    step = THUMBNAIL + _GAP
    width = 2 * _MARGIN + THUMBNAIL + _APART + num * step - _GAP
    row = THUMBNAIL + _TEXT + _GAP
    head = _MARGIN + 128
    sheet = Image.new("RGB", (width, head + len(queries) * row + _MARGIN - _GAP), PAPER)
    inside = width - 2 * _MARGIN
    draw_text(sheet, (_MARGIN, _MARGIN + 14), shortened(title, 30, inside), 30)
    told = "Right: the nearest training images, most alike first, with their cosine similarity. "
    told = shortened(f"{told}Red frame: of another class.", 20, inside)
    draw_text(sheet, (_MARGIN, _MARGIN + 58), told, 20, GREY)
    draw_text(sheet, (_MARGIN, head - 22), "Test image", 20, GREY)
    first = _MARGIN + THUMBNAIL + _APART
    draw_text(sheet, (first, head - 22), "Nearest training images", 20, GREY)
    for line, query in enumerate(queries):
        top = head + line * row
        _draw_query(sheet, (_MARGIN, top), query)
        for place, neighbour in enumerate(query.neighbours):
            _draw_neighbour(sheet, (first + place * step, top), neighbour, query.kind)
    return sheet


def _draw_query(sheet: Image.Image, corner: tuple[int, int], query: Query) -> None:
    left, top = corner
    sheet.paste(thumbnail(query.image, THUMBNAIL), corner)
    line, inside = top + THUMBNAIL + 24, THUMBNAIL + _APART - _GAP
    draw_text(sheet, (left, line), shortened(f"is: {query.kind}", _SIZE, inside), _SIZE)
    said = shortened(f"said: {query.said}", _SIZE, inside)
    fill = GREY if query.said == query.kind else _RED
    draw_text(sheet, (left, line + 27), said, _SIZE, fill)


def _draw_neighbour(
    sheet: Image.Image, corner: tuple[int, int], neighbour: Neighbour, kind: str
) -> None:
    left, top = corner
    sheet.paste(thumbnail(neighbour.image, THUMBNAIL), corner)
    other = neighbour.kind != kind
    if other:
        box = (left, top, left + THUMBNAIL - 1, top + THUMBNAIL - 1)
        ImageDraw.Draw(sheet).rectangle(box, outline=_RED, width=_FRAME)
    line, name = top + THUMBNAIL + 24, shortened(neighbour.kind, _SIZE, THUMBNAIL)
    draw_text(sheet, (left, line), name, _SIZE, _RED if other else GREY)
    draw_text(sheet, (left, line + 27), f"{neighbour.similarity:.3f}", _SIZE, GREY)
