"""Bars of images/s as a plain SVG, for `gpu.py`: no library is needed to draw it or to see it."""

from collections.abc import Sequence
from html import escape

COLOURS = {"ours": "#1f6fb2", "timm": "#e08a1e", "official style": "#9a9a9a"}
OTHER = "#6aa84f"
ROW, LEFT, BAR, RIGHT, TOP = 22, 380, 420, 150, 56  # pixels


def bars(title: str, rows: Sequence[tuple[str, str, float, str]]) -> str:
    """Draw a bar for each row: label, whose it is, value, what is written behind the bar."""
    height = TOP + ROW * len(rows) + 16
    most = max((value for _, _, value, _ in rows), default=1.0)
    width = LEFT + BAR + RIGHT
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
        '<text x="12" y="44" fill="#555">images/s of whole train steps; behind it, share of the '
        "matrix products' measured peak</text>",
    ]
    for place, (label, whose, value, behind) in enumerate(rows):
        y, length = TOP + ROW * place, BAR * value / most
        colour = COLOURS.get(whose, OTHER)
        drawn += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{length:.1f}" height="{ROW - 8}" '
            f'fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{escape(behind)}</text>',
        ]
    return "\n".join([*drawn, "</svg>", ""])
