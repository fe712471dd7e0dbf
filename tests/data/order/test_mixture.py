"""Several sets as one order: exact parts, passes without repeats, any place found at once."""

from collections import Counter

import numpy as np
import pytest

from ssl_swin.data.order.mixture import PERIOD, Mixture, quotas
from ssl_swin.data.order.shares import Shares

COUNTS = (np.array([400, 1, 0, 350]), np.array([90, 30]), np.array([3000]))
WEIGHTS = (5.0, 2.0, 3.0)
SIZES = [int(counts.sum()) for counts in COUNTS]
STARTS = np.cumsum([0, *SIZES])


def make(seed=0, lanes=8, batch=48, weights=WEIGHTS, block=64, epoch=960):
    return Mixture(COUNTS, weights, epoch, seed, batch, lanes, block)


def read(mixture, start, stop, world_size=1):
    """(step, set, pass, sample) of every place, as the ranks read them."""
    for step in range(start, stop):
        for rank in range(world_size):
            share = mixture.share(step, rank, world_size)
            sets = np.searchsorted(STARTS, share.index, side="right") - 1
            yield from zip([step] * len(sets), sets, share.epoch, share.index, strict=True)


def test_every_set_gets_exactly_its_part_of_each_period():
    mixture = make(lanes=4, batch=4 * PERIOD, epoch=4 * PERIOD)
    for step in range(3):
        parts = Counter(one for _, one, _, _ in read(mixture, step, step + 1))
        assert parts == {0: 4 * 500, 1: 4 * 200, 2: 4 * 300}


def test_a_pass_repeats_no_sample_and_leaves_out_less_than_one_of_each_lane():
    mixture = make()
    passes = {}
    for _, one, number, index in read(mixture, 0, 500):  # three whole periods
        passes.setdefault((one, number), []).append(index)
    for (one, number), seen in passes.items():
        assert len(set(seen)) == len(seen)
        assert STARTS[one] <= min(seen)
        assert max(seen) < STARTS[one + 1]
        last = number == max(n for other, n in passes if other == one)
        if not last:
            assert len(seen) == SIZES[one] // 8 * 8
    assert max(number for one, number in passes if one == 1) > 20  # the small set came round often


def test_no_sample_is_left_out_for_good():
    mixture = make(lanes=48)
    seen = Counter(index for _, _, _, index in read(mixture, 0, 700))
    assert len(seen) == STARTS[-1]


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_the_global_batch_is_the_same_on_any_number_of_ranks(world_size):
    mixture = make()
    assert list(read(mixture, 0, 40)) == list(read(mixture, 0, 40, world_size))


@pytest.mark.parametrize("start", [1, 19, 20, 333])
def test_a_run_resumed_at_a_step_sees_the_tail(start):
    tail = list(Shares(make(), 1, 3, start, 350))
    for expected, found in zip(list(Shares(make(), 1, 3, 0, 350))[start:], tail, strict=True):
        assert (expected.index == found.index).all()
        assert (expected.epoch == found.epoch).all()


def test_a_place_far_ahead_is_found_at_once():
    share = make().share(10**12)
    assert len(share.index) == 48
    assert (share.epoch > 10**9).all()


def test_the_mixture_never_changes():
    share = make(batch=16).share(700)
    assert share.index.tolist() == [
        347,
        384,
        3388,
        471,
        767,
        3728,
        634,
        618,
        1,
        1497,
        759,
        85,
        780,
        151,
        267,
        266,
    ]
    assert share.epoch.tolist() == [7, 7, 1, 7, 19, 1, 7, 7, 7, 1, 18, 7, 18, 7, 7, 7]


def test_seeds_have_mixtures_of_their_own():
    assert list(read(make(seed=0), 0, 2)) != list(read(make(seed=1), 0, 2))


def test_parts_are_rounded_and_none_is_nothing():
    assert quotas((1.0, 1.0, 1.0)).tolist() == [334, 333, 333]
    assert quotas((0.07, 0.91, 0.0234)).sum() == PERIOD
    with pytest.raises(ValueError, match=r"data\.sets\[1\]\.weight=0\.001 is less than 1/1000"):
        quotas((5.0, 0.001))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 40}, r"data\.samples_per_epoch=40 is less than one global_batch_size=48"),
        ({"lanes": 7}, r"data\.num_lanes=7 does not divide"),
        ({"lanes": 240, "batch": 240}, r"data\.sets\[1\] holds 120 samples, fewer than .*=240"),
    ],
)
def test_what_cannot_be_mixed_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)
