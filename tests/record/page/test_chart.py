"""Charts: what is drawn is what was measured, however long it is."""

import re

import numpy as np
import pytest

from ssl_swin.record.page.chart import (
    SIDE,
    Chart,
    Curve,
    draw,
    log_ticks,
    moving_mean,
    number,
    thinned,
    ticks,
)


def chart(*curves, **how):
    return Chart("Loss", "nats", "", [Curve("a", curve, 0) for curve in curves], **how)


def values(drawing, path):
    """Read points back from a path, as the script of the page does."""
    (left, right), (low, high) = drawing.x_range, drawing.y_range
    places = [[int(one) for one in pair.split()] for pair in re.split("[ML]", path)[1:]]
    return [(left + (right - left) * a / SIDE, high - (high - low) * b / SIDE) for a, b in places]


def test_a_short_curve_is_drawn_point_by_point():
    curve = [(10, 1.0), (20, 0.5), (40, 0.25)]
    drawing = draw(chart(curve))
    (line,) = drawing.lines
    assert np.allclose(values(drawing, line.points), curve, rtol=2e-4)
    assert (line.mean, line.dots, line.last) == ("", "", "0.2500")


@pytest.mark.parametrize("num_points", [2_000, 50_000])
def test_a_long_curve_becomes_short_and_keeps_its_spikes(num_points):
    y = np.random.default_rng(0).normal(size=num_points)
    y[num_points // 3], y[num_points // 2] = 99.0, -99.0
    drawing = draw(chart(list(enumerate(y.tolist()))))
    drawn = values(drawing, drawing.lines[0].points)
    assert len(drawn) <= 802
    assert max(b for _, b in drawn) == pytest.approx(99.0, abs=0.05)
    assert min(b for _, b in drawn) == pytest.approx(-99.0, abs=0.05)


@pytest.mark.parametrize("num_points", [1, 2, 9, 10, 11, 1000])
@pytest.mark.parametrize("num_stretches", [1, 2, 5])
def test_thinning_keeps_both_ends_the_order_and_the_extremes(num_points, num_stretches):
    x = np.arange(num_points, dtype=float)
    y = np.random.default_rng(1).normal(size=num_points)
    thin_x, thin_y = thinned(x, y, num_stretches)
    assert thin_x.tolist() == sorted(set(thin_x.tolist()))
    assert (thin_x[0], thin_x[-1]) == (x[0], x[-1])
    assert (thin_y.min(), thin_y.max()) == (y.min(), y.max())
    assert len(thin_x) <= 2 * num_stretches + 2
    assert thin_y.tolist() == y[thin_x.astype(int)].tolist()


def test_the_mean_is_that_of_its_window_and_looks_back_at_the_end():
    y = np.arange(200, dtype=float) ** 2
    mean = moving_mean(y)  # 2 points on each side, 5 in all
    assert mean[0] == y[0]
    assert mean[100] == pytest.approx(y[98:103].mean())
    assert mean[-1] == pytest.approx(y[-3:].mean())
    assert moving_mean(np.full(7, 3.0)).tolist() == [3.0] * 7


def test_through_a_noisy_curve_the_mean_is_drawn_and_told():
    curve = [(step, float(step % 2)) for step in range(400)]
    (line,) = draw(chart(curve, is_noisy=True)).lines
    assert line.mean
    assert line.last == "0.5000"
    assert draw(chart(curve[:50], is_noisy=True)).lines[0].mean == ""


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 37.0, 1e6])
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_ticks_are_round_few_and_within(scale, share):
    low, high = scale * (1 - share), scale
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 * scale <= at <= high * (1 + 1e-9) for at, _ in found)
    assert len({text for _, text in found}) == len(found)


def test_ticks_are_written_as_people_do():
    assert [text for _, text in ticks(0, 4000, 4)] == ["0", "1 k", "2 k", "3 k", "4 k"]
    assert [text for _, text in ticks(0.3, 0.45, 3)] == ["0.30", "0.35", "0.40", "0.45"]
    assert [text for _, text in ticks(0, 1e-3, 2)] == ["0", "5e-4", "1.0e-3"]
    assert [text for _, text in log_ticks(-1.2, 2.5)] == ["0.1000", "1", "10", "100"]
    told = [number(one) for one in (0, 3, 0.35823, 12.345, 1234.5, 123456, 7.5e-5, 3e9)]
    assert told == ["0", "3", "0.3582", "12.35", "1,234.5", "123,456", "7.50e-5", "3e+09"]


def test_values_that_differ_by_much_are_drawn_by_their_powers_of_ten():
    drawing = draw(chart([(0, 0.01), (1, 1.0), (2, 100.0)], may_be_log=True))
    assert drawing.is_log
    powers = [b for _, b in values(drawing, drawing.lines[0].points)]
    assert powers == pytest.approx([-2, 0, 2], abs=0.001)
    assert drawing.lines[0].last == "100"
    assert not draw(chart([(0, 0.0), (1, 100.0)], may_be_log=True)).is_log


@pytest.mark.parametrize("points", [[(5, 0.0)], [(5, 3.0), (9, 3.0)], [(5, -1.0), (5, 1.0)]])
def test_one_point_and_level_curves_are_drawn_inside(points):
    drawing = draw(chart(points, from_zero=True))
    assert all(0 <= at <= 100 for at, _ in drawing.x_ticks + drawing.y_ticks)
    places = [int(one) for one in re.findall(r"-?\d+", drawing.lines[0].points)]
    assert all(0 <= one <= SIDE for one in places)
    assert bool(drawing.lines[0].dots) == (len(points) == 1)


def test_a_chart_without_points_is_none():
    assert draw(chart()) is None
    assert draw(chart([])) is None
