"""The confusion matrix as a picture: what images are, by row, and what they are said to be."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw

from ssl_swin.evaluation.drawing import (
    EMPTY,
    GREY,
    INK,
    PAPER,
    RIGHT,
    WRONG,
    blend,
    draw_text,
    shortened,
    text_size,
    upright_text,
)
from ssl_swin.evaluation.measures import most_confused

_MARGIN, _GAP = 48, 16  # pixels
_LONGEST_NAME = 260  # pixels
_MOST_NAMED = 100  # classes whose names stand at the matrix
_SMALLEST_COUNT = 30  # pixels of a cell that shows its count
_MOST_TICKS = 20
_CURVE = 0.6  # small shares are drawn darker than they are, or nobody would see them
_EXPLAINED = (
    "Rows: what images are. Columns: what they are said to be.",
    "Blue: right. Red: wrong. The darker, the larger the share of the row.",
)
_LIST_WIDTH = 760


def draw_confusion(
    confusion: Int[np.ndarray, "num_classes num_classes"], classes: Sequence[str], title: str
) -> Image.Image:
    """Draw a confusion matrix of 1 to some thousand classes, with the most frequent mistakes."""
    num, cell = len(classes), _cell_size(len(classes))
    size = max(10, min(24, int(0.62 * cell)))
    named = [shortened(name, size, _LONGEST_NAME) for name in classes] if num <= _MOST_NAMED else []
    wide = max((text_size(name, size)[0] for name in named), default=text_size(str(num), 18)[0])
    left, top, side = _MARGIN + 44 + wide + _GAP, _MARGIN + 130, num * cell
    below = top + side + wide + _GAP + 60
    mistakes = most_confused(confusion, max(8, min(24, (side - 60) // 36)))
    height = max(below, top + 110 + 36 * len(mistakes)) + _MARGIN
    width = left + side + 3 * _MARGIN + _LIST_WIDTH
    image = Image.new("RGB", (width, height), PAPER)
    draw_text(image, (_MARGIN, _MARGIN + 14), shortened(title, 32, width - 2 * _MARGIN), 32)
    for line, text in enumerate(_EXPLAINED):
        draw_text(image, (_MARGIN, _MARGIN + 58 + 28 * line), text, 20, fill=GREY)
    image.paste(_matrix(confusion, cell), (left, top))
    if cell >= _SMALLEST_COUNT:
        _write_counts(image, confusion, cell, (left, top))
    if named:
        _write_names(image, named, size, cell, (left, top))
    else:
        _write_numbers(image, num, cell, (left, top))
    caption = upright_text("is", 22)
    image.paste(caption, (_MARGIN, top + side // 2 - caption.height // 2))
    draw_text(image, (left + side / 2, below - 20), "is said to be", 22, anchor="mm")
    _list_mistakes(image, mistakes, confusion, classes, (left + side + 2 * _MARGIN, top))
    return image


def _cell_size(num_classes: int) -> int:
    """Return the side of a cell in pixels: the matrix is about as large for any number of them."""
    return max(2, min(120, 1400 // num_classes))


def _matrix(confusion: np.ndarray, cell: int) -> Image.Image:
    """Draw the cells, one beside the other, with a line between them where there is room."""
    num = len(confusion)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)  # (classes, classes)
    colours = np.full((num, num, 3), [int(EMPTY[at : at + 2], 16) for at in (1, 3, 5)], np.uint8)
    weight = (0.08 + 0.92 * share**_CURVE)[..., None]  # (classes, classes, 1)
    right = np.eye(num, dtype=bool)[..., None]
    drawn = np.round(255 + (np.where(right, RIGHT, WRONG) - 255) * weight)
    colours = np.where(confusion[..., None] > 0, drawn, colours).astype(np.uint8)
    empty = np.flatnonzero(confusion.diagonal() == 0)
    colours[empty, empty] = blend(RIGHT, 0.12)
    pixels = colours.repeat(cell, axis=0).repeat(cell, axis=1)
    image = Image.fromarray(pixels)
    if cell >= 8:
        draw, side = ImageDraw.Draw(image), num * cell
        for at in range(0, side + 1, cell):
            draw.line([(at, 0), (at, side)], PAPER, max(1, cell // 24))
            draw.line([(0, at), (side, at)], PAPER, max(1, cell // 24))
    return image


def _write_counts(
    image: Image.Image, confusion: np.ndarray, cell: int, corner: tuple[int, int]
) -> None:
    whole = confusion.sum(axis=1)
    told = (confusion > 0) | np.eye(len(confusion), dtype=bool)  # that none is right is said, too
    for row, column in np.argwhere(told).tolist():
        text, size = f"{confusion[row, column]:,}", min(26, int(0.42 * cell))
        while size > 8 and text_size(text, size)[0] > 0.88 * cell:
            size -= 1
        place = corner[0] + (column + 0.5) * cell, corner[1] + (row + 0.5) * cell
        dark = (confusion[row, column] / max(whole[row], 1)) ** _CURVE > 0.5
        draw_text(image, place, text, size, anchor="mm", fill=PAPER if dark else INK)


def _write_names(
    image: Image.Image, names: Sequence[str], size: int, cell: int, corner: tuple[int, int]
) -> None:
    left, top = corner
    below = top + len(names) * cell + _GAP
    for place, name in enumerate(names):
        middle = (place + 0.5) * cell
        draw_text(image, (left - _GAP, top + middle), name, size, anchor="rm")
        if max(text_size(one, size)[0] for one in names) < 0.9 * cell:
            draw_text(image, (left + middle, below + size // 2), name, size, anchor="mm")
        else:
            upright = upright_text(name, size)
            image.paste(upright, (round(left + middle - upright.width / 2), below))


def _write_numbers(image: Image.Image, num: int, cell: int, corner: tuple[int, int]) -> None:
    """Write the numbers of some classes, where there is no room for the names of all."""
    left, top = corner
    steps = (one * 10**power for power in range(9) for one in (1, 2, 5))
    step = next(step for step in steps if num <= _MOST_TICKS * step)
    for number in range(0, num, step):
        middle = (number + 0.5) * cell
        draw_text(image, (left - _GAP, top + middle), str(number), 18, anchor="rm")
        below = top + num * cell + _GAP + 8
        draw_text(image, (left + middle, below), str(number), 18, anchor="mm")


def _list_mistakes(
    image: Image.Image,
    mistakes: Sequence[tuple[int, int, int]],
    confusion: np.ndarray,
    classes: Sequence[str],
    corner: tuple[int, int],
) -> None:
    """List the most frequent mistakes: two names, how many images, their share of the class."""
    left, top = corner
    draw_text(image, (left, top + 12), "Most frequent mistakes" if mistakes else "No mistakes", 26)
    if not mistakes:
        return
    places = (0, 280, 640, 760)
    for at, text in zip(places, ("is", "is said to be", "images", "of the class"), strict=True):
        anchor = "rm" if at > 600 else "lm"
        draw_text(image, (left + at, top + 58), text, 18, fill=GREY, anchor=anchor)
    for line, (row, column, count) in enumerate(mistakes):
        y = top + 96 + 36 * line
        names = [shortened(classes[one], 22, 260) for one in (row, column)]
        share = f"{100 * count / confusion[row].sum():.1f} %"
        for at, text in zip(places, (*names, f"{count:,}", share), strict=True):
            draw_text(image, (left + at, y), text, 22, anchor="rm" if at > 600 else "lm")
