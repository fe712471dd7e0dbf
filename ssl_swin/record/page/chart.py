"""A chart: curves -> paths, ticks and numbers on a square that a page stretches to any size.

Lines stay as thick as they are when it is stretched, and words are none of it: the page sets them
at places in per cent. So letters have one size on a phone and on a desk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

SIDE = 10_000  # units of the square; a script reads values back from them, to four digits
MOST_POINTS = 12_000  # of all curves of a chart
_SMOOTH_FROM = 60  # points; a noisy curve of fewer is drawn as it is
_WINDOW = 1 / 40  # of the points of a curve, for the mean that is drawn through a noisy one
_LOG_FROM = 100.0  # largest over smallest value

Point = tuple[float, float]
Values = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Curve:
    """Points of one run, in the order of x, and how they are drawn."""

    label: str
    points: Sequence[Point]
    colour: int
    dash: int = 0
    is_marked: bool = False  # a dot at each point: of what is measured seldom


@dataclass(frozen=True)
class Chart:
    """Curves with one meaning; the axes are named with their units."""

    title: str
    axis: str  # of y: what it is, and its unit
    about: str  # one sentence or more
    curves: Sequence[Curve]
    x_axis: str = "step"
    is_noisy: bool = False  # a mean is drawn through each curve
    from_zero: bool = False
    may_be_log: bool = False  # if values differ by much
    is_detail: bool = False  # of a part of the network, for those who look closer


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn: paths in units of the square, y downwards."""

    label: str
    colour: int
    dash: int
    points: str  # path of what was measured, the largest and smallest value of each short stretch
    mean: str  # path of the mean through it; empty if that is not drawn
    dots: str  # a path of dots; empty for none
    last: str  # value, of the mean if that is drawn


@dataclass(frozen=True)
class Drawing:
    """A chart, ready for a page."""

    chart: Chart
    lines: list[Line]
    x_range: Point
    y_range: Point  # powers of ten if `is_log`
    x_ticks: list[tuple[float, str]]  # place in per cent from the left, and what stands there
    y_ticks: list[tuple[float, str]]  # from the top
    is_log: bool


def draw(chart: Chart) -> Drawing | None:
    """Draw a chart; None if no curve has a point."""
    curves = [curve for curve in chart.curves if curve.points]
    if not curves:
        return None
    arrays = [np.array(curve.points, dtype=np.float64).T for curve in curves]  # each (2, points)
    x_low, x_high = _range(np.concatenate([x for x, _ in arrays]), 0.0)
    every_y = np.concatenate([y for _, y in arrays])
    is_log = chart.may_be_log and every_y.min() > 0 and every_y.max() > _LOG_FROM * every_y.min()
    if is_log:
        arrays = [np.stack([x, np.log10(y)]) for x, y in arrays]
        every_y = np.log10(every_y)
    y_low, y_high = _range(every_y, 0.05)
    if chart.from_zero and every_y.min() >= 0:
        y_low, y_high = 0.0, max(y_high, 1.05 * float(every_y.max()))
    most = max(40, MOST_POINTS // len(curves))
    frame = ((x_low, x_high), (y_low, y_high))
    lines = []
    for curve, (x, y) in zip(curves, arrays, strict=True):
        smooth = chart.is_noisy and len(x) >= _SMOOTH_FROM
        mean = moving_mean(y) if smooth else y
        thin = thinned(x, y, min(most, 800) // 2)
        few = thinned(x, mean, min(most, 400) // 2) if smooth else (x[:0], y[:0])
        dots = (curve.is_marked and len(x) <= 60) or len(x) == 1
        lines.append(
            Line(
                curve.label,
                curve.colour,
                curve.dash,
                _path(thin, frame),
                _path(few, frame),
                _dots(thin, frame) if dots else "",
                number(float(10 ** mean[-1] if is_log else mean[-1])),
            )
        )
    x_ticks = [(_share(at, x_low, x_high), text) for at, text in ticks(x_low, x_high, 4)]
    y_ticks = [
        (100 - _share(at, y_low, y_high), text)
        for at, text in (log_ticks(y_low, y_high) if is_log else ticks(y_low, y_high, 5))
    ]
    return Drawing(chart, lines, frame[0], frame[1], x_ticks, y_ticks, is_log)


def thinned(x: Values, y: Values, num_stretches: int) -> tuple[Values, Values]:
    """Keep the smallest and the largest value of each stretch of x, and both ends: all spikes."""
    if len(x) <= 2 * num_stretches:
        return x, y
    edges = np.searchsorted(x, np.linspace(x[0], x[-1], num_stretches + 1)[1:-1])
    kept = {0, len(x) - 1}
    for low, high in pairwise([0, *edges.tolist(), len(x)]):
        if low < high:
            kept |= {low + int(y[low:high].argmin()), low + int(y[low:high].argmax())}
    places = sorted(kept)
    return x[places], y[places]


def moving_mean(y: Values) -> Values:
    """Return the mean over a short window around each point.

    At the beginning the window is narrow, for curves fall fast there; at the end it looks back.
    """
    half = max(1, round(len(y) * _WINDOW / 2))
    sums = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    low, high = at - np.minimum(at, half), np.minimum(at + np.minimum(at, half), len(y) - 1) + 1
    return (sums[high] - sums[low]) / (high - low)


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return round numbers within a range, `most` + 1 of them or fewer, as numbers and words."""
    rough = (high - low) / most
    power = 10.0 ** _power(rough)
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(place * step, _tick(place * step, step)) for place in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return powers of ten within a range of powers."""
    every = max(1, math.ceil((high - low) / 5))
    powers = range(math.ceil(low), math.floor(high) + 1, every)
    return [(float(power), number(10.0**power)) for power in powers]


def number(value: float) -> str:
    """Write a number for people, in four digits or so."""
    size = abs(value)
    if size >= 1e5:
        return f"{value:,.0f}" if size < 1e7 else f"{value:.3g}"
    if value == int(value):
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:,.1f}"
    if size >= 0.001:
        return f"{value:.2f}" if size >= 10 else f"{value:.4f}"
    return f"{value:.2e}".replace("e-0", "e-")


def _tick(value: float, step: float) -> str:
    """Write the number at a tick: as many digits as its step needs."""
    if abs(value) < step / 2:
        return "0"
    if step >= 1e6:
        return f"{value / 1e6:g} M"
    if step >= 1000:
        return f"{value / 1000:,g} k"
    if step < 1e-3:
        digits = max(0, _power(value) - _power(step))
        return f"{value:.{digits}e}".replace("e-0", "e-")
    return f"{value:,.{max(0, -_power(step))}f}"


def _power(value: float) -> int:
    """Return the power of ten of the first digit."""
    return math.floor(math.log10(abs(value)) + 1e-9)


def _range(values: Values, margin: float) -> Point:
    """Return the smallest and largest value, with a margin that is a share of what lies between."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) / 10 or 1.0
        return low - room, high + room
    room = (high - low) * margin
    return low - room, high + room


def _share(at: float, low: float, high: float) -> float:
    return round(100 * (at - low) / (high - low), 2)


def _places(curve: tuple[Values, Values], frame: tuple[Point, Point]) -> list[list[int]]:
    (x, y), (x_low, x_high), (y_low, y_high) = curve, *frame
    across, down = (x - x_low) / (x_high - x_low), (y_high - y) / (y_high - y_low)
    places: list[list[int]] = np.rint(SIDE * np.stack([across, down], axis=1)).astype(int).tolist()
    return places


def _path(curve: tuple[Values, Values], frame: tuple[Point, Point]) -> str:
    return "M" + "L".join(f"{a} {b}" for a, b in _places(curve, frame)) if len(curve[0]) else ""


def _dots(curve: tuple[Values, Values], frame: tuple[Point, Point]) -> str:
    """Return lines of no length: with round ends they are dots, however the square is stretched."""
    return "".join(f"M{a} {b}h0" for a, b in _places(curve, frame))
