"""The accuracy of each class as a picture: a bar each, the lowest first."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw

from ssl_swin.evaluation.drawing import EMPTY, GREY, PAPER, RIGHT, draw_text, shortened, text_size

MOST_BARS = 40
_MARGIN, _ROW, _BAR, _WIDE, _LONGEST_NAME = 48, 34, 22, 560, 260  # pixels


def draw_accuracies(
    right: Int[np.ndarray, " classes"],
    num: Int[np.ndarray, " classes"],
    classes: Sequence[str],
    title: str,
) -> Image.Image:
    """Draw how many of the images of each class are right; of many classes the lowest.

    Classes without an image are left out.
    """
    share = 100 * right / np.maximum(num, 1)
    order = [at for at in np.argsort(share, kind="stable").tolist() if num[at]]
    shown = order[:MOST_BARS]
    names = {at: shortened(classes[at], 20, _LONGEST_NAME) for at in shown}
    left = _MARGIN + max((text_size(name, 20)[0] for name in names.values()), default=0) + 16
    told = f"the {len(shown)} lowest of {len(order):,} classes" if len(shown) < len(order) else ""
    width = max(left + _WIDE + 260, text_size(title, 26)[0] + 2 * _MARGIN)
    image = Image.new("RGB", (width, 2 * _MARGIN + 90 + _ROW * len(shown)), PAPER)
    draw_text(image, (_MARGIN, _MARGIN + 8), title, 26)
    about = ", ".join(filter(None, ("images of each class whose class came first", told)))
    draw_text(image, (_MARGIN, _MARGIN + 46), about, 18, fill=GREY)
    draw = ImageDraw.Draw(image)
    for row, at in enumerate(shown):
        middle = _MARGIN + 90 + _ROW * row + _ROW // 2
        upper, lower = middle - _BAR // 2, middle + _BAR // 2
        draw_text(image, (left - 16, middle), names[at], 20, anchor="rm")
        draw.rectangle((left, upper, left + _WIDE, lower), EMPTY)
        if right[at]:
            draw.rectangle((left, upper, left + round(_WIDE * share[at] / 100), lower), RIGHT)
        numbers = f"{share[at]:.1f} %  ({right[at]:,} of {num[at]:,})"
        draw_text(image, (left + _WIDE + 16, middle), numbers, 18)
    return image
