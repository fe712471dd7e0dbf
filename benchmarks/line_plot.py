"""Curves as a plain SVG, for `scaling.py`: no library is needed to draw it or to see it."""

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f6fb2", "#e08a1e", "#6aa84f", "#9a4f96", "#7a7a7a", "#c0392b")
LEFT, TOP, WIDTH, HEIGHT, LEGEND = 60, 48, 560, 300, 20  # pixels


def curves(title: str, x_label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw shares, up to 1, over numbers that double from tick to tick; every second is dashed."""
    xs = sorted({x for points in series.values() for x, _ in points})
    tenths = math.floor(10 * min(y for points in series.values() for _, y in points))
    low = min(max(tenths, 0), 9) / 10
    first, span = math.log2(xs[0]), math.log2(xs[-1] / xs[0]) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (math.log2(x) - first) / span, (y - low) / (1 - low)
        return round(LEFT + WIDTH * across, 1), round(TOP + HEIGHT * (1 - up), 1)

    width, bottom = LEFT + WIDTH + 30, TOP + HEIGHT
    height = bottom + 60 + LEGEND * len(series)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for share in (tenth / 10 for tenth in range(round(10 * low), 11)):
        _, y = place(xs[0], share)
        drawn += [
            f'<path d="M{LEFT} {y}H{LEFT + WIDTH}" stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{share:.0%}</text>',
        ]
    for x in xs:
        at, _ = place(x, low)
        drawn.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{x:g}</text>')
    drawn.append(
        f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_label)}'
        "</text>"
    )
    for number, (name, points) in enumerate(series.items()):
        colour, y = COLOURS[number % len(COLOURS)], bottom + 62 + LEGEND * number
        stroke = f'stroke="{colour}" stroke-width="2"' + ' stroke-dasharray="6 4"' * (number % 2)
        line = "L".join("{} {}".format(*place(*point)) for point in points)
        drawn += [
            f'<path d="M{line}" fill="none" {stroke}/>',
            f'<path d="M{LEFT} {y - 4}h24" {stroke}/>',
            f'<text x="{LEFT + 32}" y="{y}">{escape(name)}</text>',
        ]
    return "\n".join([*drawn, "</svg>", ""])
