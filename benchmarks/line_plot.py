"""Curves as a plain SVG, for `ranks.py` and `scaling.py`; no library is needed to see it."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

COLOURS = ("#1f6fb2", "#e08a1e", "#6aa84f", "#9a4f96", "#7a7a7a", "#c0392b")
LEFT, TOP, WIDTH, HEIGHT, LEGEND = 60, 48, 560, 300, 20  # pixels
Points = Sequence[tuple[float, float]]
Place = Callable[[float, float], tuple[float, float]]  # x and y -> pixels from the left and the top


def curves(title: str, x_label: str, series: Mapping[str, Points]) -> str:
    """Draw shares, up to 1, over numbers that double from tick to tick; every second is dashed."""
    xs, ys = _sides(series)
    tenths = math.floor(10 * ys[0])
    low = min(max(tenths, 0), 9) / 10
    across = _across(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        return across(x), round(TOP + HEIGHT * (1 - (y - low) / (1 - low)), 1)

    shares = [tenth / 10 for tenth in range(round(10 * low), 11)]
    ticks = {share: f"{share:.0%}" for share in shares}
    return _drawn(title, x_label, ticks, series, place)


def growth(title: str, x_label: str, series: Mapping[str, Points]) -> str:
    """Draw numbers over others, both so that a power is a straight line.

    Two curves that follow one another have one colour, and the second of them is dashed.
    """
    xs, ys = _sides(series)
    first = math.floor(math.log10(ys[0]) + 1e-9)
    last = max(math.ceil(math.log10(ys[-1]) - 1e-9), first + 1)
    across = _across(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        up = (math.log10(y) - first) / (last - first)
        return across(x), round(TOP + HEIGHT * (1 - up), 1)

    ticks = {10.0**power: f"{10.0**power:g}" for power in range(first, last + 1)}
    return _drawn(title, x_label, ticks, series, place, to_a_colour=2)


def _sides(series: Mapping[str, Points]) -> tuple[list[float], list[float]]:
    xs, ys = zip(*(point for points in series.values() for point in points), strict=True)
    return sorted(set(xs)), sorted(set(ys))


def _across(xs: list[float]) -> Callable[[float], float]:
    first, span = math.log2(xs[0]), math.log2(xs[-1] / xs[0]) or 1.0
    return lambda x: round(LEFT + WIDTH * (math.log2(x) - first) / span, 1)


def _drawn(
    title: str,
    x_label: str,
    ticks: Mapping[float, str],
    series: Mapping[str, Points],
    place: Place,
    to_a_colour: int = 1,
) -> str:
    xs, _ = _sides(series)
    width, bottom = LEFT + WIDTH + 30, TOP + HEIGHT
    height = bottom + 60 + LEGEND * len(series)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for value, label in ticks.items():
        _, y = place(xs[0], value)
        drawn += [
            f'<path d="M{LEFT} {y}H{LEFT + WIDTH}" stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>',
        ]
    for x in xs:
        at, _ = place(x, next(iter(ticks)))
        drawn.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{x:g}</text>')
    drawn.append(
        f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_label)}'
        "</text>"
    )
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number // to_a_colour % len(COLOURS)]
        drawn += _line(number, colour, name, [place(*point) for point in points])
    return "\n".join([*drawn, "</svg>", ""])


def _line(number: int, colour: str, name: str, points: Points) -> list[str]:
    """Draw one curve, and what it is below all of them."""
    y = TOP + HEIGHT + 62 + LEGEND * number
    stroke = f'stroke="{colour}" stroke-width="2"' + ' stroke-dasharray="6 4"' * (number % 2)
    line = "L".join("{} {}".format(*point) for point in points)
    return [
        f'<path d="M{line}" fill="none" {stroke}/>',
        f'<path d="M{LEFT} {y - 4}h24" {stroke}/>',
        f'<text x="{LEFT + 32}" y="{y}">{escape(name)}</text>',
    ]
