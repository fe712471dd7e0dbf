import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from ssl_swin.features import intervals
from ssl_swin.features.intervals import paired_difference


def drawn(num, share, seed):
    return 100.0 * (np.random.default_rng(seed).random(num) < share)


def test_it_is_the_percentile_bootstrap_of_scipy():
    one, other = drawn(670, 0.7, 0), drawn(670, 0.6, 1)
    found = paired_difference(one, other, seed=0)
    theirs = bootstrap(
        (one - other,), np.mean, n_resamples=10_000, method="percentile", rng=0
    ).confidence_interval
    assert found.difference == pytest.approx((one - other).mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.25)
    half = norm.ppf(0.975) * (one - other).std() / np.sqrt(670)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)
    assert found.low > 0


def test_what_both_get_right_says_nothing():
    one = drawn(100, 0.5, 0)
    same = paired_difference(one, one, seed=0)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    other = one.copy()
    other[:3] = 100 - other[:3]
    narrow = paired_difference(one, other, seed=0)
    apart = paired_difference(one, drawn(100, 0.5, 1), seed=0)
    assert narrow.high - narrow.low < 0.4 * (apart.high - apart.low)


def test_it_turns_with_the_two_and_depends_on_the_seed_alone():
    one, other = drawn(200, 0.7, 0), drawn(200, 0.6, 1)
    found, turned = paired_difference(one, other, 0), paired_difference(other, one, 0)
    ends = (-turned.high, -turned.low)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-9)
    assert paired_difference(one, other, 0) == found
    assert paired_difference(one, other, 1) != found


def test_memory_holds_a_part_of_the_resamples(monkeypatch):
    one, other = drawn(50, 0.7, 0), drawn(50, 0.6, 1)
    whole = paired_difference(one, other, 0)
    monkeypatch.setattr(intervals, "_MOST_DRAWN", 50 * 700)
    in_parts = paired_difference(one, other, 0)
    assert (in_parts.low, in_parts.high) == pytest.approx((whole.low, whole.high), abs=1.0)


def test_one_image_has_no_interval():
    alone = paired_difference(np.array([100.0]), np.array([0.0]), 0)
    assert (alone.low, alone.high) == (100, 100)
