"""Means with their intervals as a plain SVG, a row for each name and a panel for each measure."""

import math
from collections.abc import Mapping
from html import escape

NAMES, PANEL, GAP, TOP, ROW = 170, 190, 24, 64, 22  # pixels
CERTAIN, OPEN = "#1f6fb2", "#7a7a7a"
Bar = tuple[float, tuple[float, float] | None]  # mean; its interval, if one is known


def intervals(title: str, panels: Mapping[str, Mapping[str, Bar]]) -> str:
    """Draw differences from 0; those whose interval does not have 0 within are blue."""
    names = [*dict.fromkeys(name for bars in panels.values() for name in bars)]
    width = NAMES + len(panels) * (PANEL + GAP)
    height = TOP + ROW * len(names) + 40
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, name in enumerate(names):
        y = TOP + ROW * number
        drawn.append(f'<text x="{NAMES - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
    for number, (head, bars) in enumerate(panels.items()):
        left = NAMES + number * (PANEL + GAP)
        rows = {TOP + ROW * names.index(name): bar for name, bar in bars.items()}
        drawn += _panel(head, left, TOP + ROW * len(names), rows)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(head: str, left: int, bottom: int, rows: Mapping[int, Bar]) -> list[str]:
    """Draw one measure; `rows` by their pixels from the top."""
    ends = [end for mean, between in rows.values() for end in (mean, *(between or ()))]
    most = max(1, math.ceil(max(map(abs, ends))))

    def x(value: float) -> float:
        return round(left + PANEL * (value + most) / (2 * most), 1)

    drawn = [f'<text x="{x(0)}" y="46" text-anchor="middle">{escape(head)}</text>']
    for tick in (-most, 0, most):
        drawn += [
            f'<path d="M{x(tick)} {TOP - 12}V{bottom}" stroke="#ddd"/>',
            f'<text x="{x(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:+d}</text>',
        ]
    for y, (mean, between) in rows.items():
        sure = between is not None and not between[0] <= 0 <= between[1]
        colour = CERTAIN if sure else OPEN
        if between is not None:
            line = f"M{x(between[0])} {y}H{x(between[1])}"
            drawn.append(f'<path d="{line}" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<circle cx="{x(mean)}" cy="{y}" r="4" fill="{colour}"/>')
    return drawn
