"""Means with their intervals as a plain SVG, a row for each name and a panel for each measure."""

import math
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

NAMES, PANEL, GAP, TOP, ROW = 170, 190, 24, 64, 22  # pixels
CERTAIN, OPEN = "#1f6fb2", "#7a7a7a"


class Bar(NamedTuple):
    """A difference from 0."""

    mean: float
    between: tuple[float, float] | None
    """Its interval, if one is known."""
    certain: bool
    """Whether it is one at all."""


def intervals(title: str, below: str, panels: Mapping[str, Mapping[str, Bar]]) -> str:
    """Draw differences from 0, those that are certain in blue; longer intervals are cut off."""
    names = [*dict.fromkeys(name for bars in panels.values() for name in bars)]
    width = NAMES + len(panels) * (PANEL + GAP)
    height = TOP + ROW * len(names) + 56
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
    drawn.append(f'<text x="12" y="{height - 10}" fill="{OPEN}">{escape(below)}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def _panel(head: str, left: int, bottom: int, rows: Mapping[int, Bar]) -> list[str]:
    """Draw one measure; `rows` by their pixels from the top."""
    most = max(1, math.ceil(1.25 * max(abs(bar.mean) for bar in rows.values())))

    def x(value: float) -> float:
        return round(left + PANEL * (value + most) / (2 * most), 1)

    drawn = [f'<text x="{x(0)}" y="46" text-anchor="middle">{escape(head)}</text>']
    for tick, anchor in ((-most, "start"), (0, "middle"), (most, "end")):
        label = f"{tick:+d}" if tick else "0"
        drawn += [
            f'<path d="M{x(tick)} {TOP - 12}V{bottom}" stroke="#ddd"/>',
            f'<text x="{x(tick)}" y="{bottom + 18}" text-anchor="{anchor}">{label}</text>',
        ]
    for y, bar in rows.items():
        colour = CERTAIN if bar.certain else OPEN
        if bar.between is not None:
            low, high = (x(min(max(end, -most), most)) for end in bar.between)
            drawn.append(f'<path d="M{low} {y}H{high}" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<circle cx="{x(bar.mean)}" cy="{y}" r="4" fill="{colour}"/>')
    return drawn
