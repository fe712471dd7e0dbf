import random

import numpy as np
import pytest

from ssl_swin.draw import (
    Purpose,
    integer,
    normals,
    permutation,
    raw,
    seeded_globals,
    uniforms,
)


def test_the_numbers_never_change():
    assert raw(3, 1, 2, 3).tolist() == [
        13279728891206244966,
        234311473967787377,
        1837962869696963184,
    ]
    assert uniforms(2, 1, 2, 3) == pytest.approx([0.71989555, 0.01270205], abs=1e-8)
    assert normals(3, 1, 2, 3) == pytest.approx([1.292817, 0.121547, 0.934778], abs=1e-6)
    assert permutation(8, 1, 2, 3).tolist() == [1, 2, 4, 6, 5, 0, 7, 3]
    assert integer(1000, 1, 2, 3) == 966


def test_purposes_keep_their_values():
    assert [purpose.name for purpose in sorted(Purpose)] == [
        "SHARD_ORDER",
        "BLOCK_ORDER",
        "ROTATION",
        "CROP",
        "FLIP",
        "RAND_AUGMENT",
        "ERASING",
        "SUBSET",
        "MIXUP",
        "STEP",
        "MIXTURE",
        "FEW_LABELS",
        "HELD_OUT_LABELS",
        "BOOTSTRAP",
        "QUERIES",
        "MONITORED",
        "CLASS_ORDER",
        "WITHIN_CLASS",
        "VFLIP",
        "QUARTER_TURNS",
    ]
    assert sorted(Purpose) == list(range(1, 21))


@pytest.mark.parametrize("num", [1, 2, 7, 100])
def test_fewer_numbers_are_the_first_of_more(num):
    assert (raw(num, 5) == raw(1000, 5)[:num]).all()


def test_uniforms_fill_the_unit_interval_and_never_reach_one():
    numbers = uniforms(100_000, 7)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    share, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(share / len(numbers) - 0.1).max() < 0.005


@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_as_many_normals_come_as_were_asked_for(num):
    assert normals(num, 3).shape == (num,)


def test_normals_have_mean_0_deviation_1_and_normal_tails():
    numbers = normals(100_001, 7)
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs((abs(numbers) > 2).mean() - 0.0455) < 0.005


@pytest.mark.parametrize("num", [0, 1, 2, 1000])
def test_a_permutation_holds_everything_once(num):
    assert sorted(permutation(num, 1).tolist()) == list(range(num))


@pytest.mark.parametrize("bound", [1, 2, 10**12])
def test_an_integer_stays_below_its_bound(bound):
    assert all(0 <= integer(bound, key) < bound for key in range(50))


def test_purposes_seeds_epochs_and_indexes_draw_different_numbers():
    keys = [
        (purpose, seed, epoch, index)
        for purpose in Purpose
        for seed in (0, 1, 2)
        for epoch in (0, 1, 2)
        for index in (0, 1, 2, 10**9)
    ]
    orders = [(seed, purpose, 3) for seed in range(3) for purpose in (1, 2, 3)]
    drawn = {int(raw(1, *key)[0]) for key in keys + orders}
    assert len(drawn) == len(keys) + len(orders)
    columns = np.stack([uniforms(2000, purpose, 0, 0, 0) for purpose in Purpose])
    assert abs(np.corrcoef(columns) - np.eye(len(Purpose))).max() < 0.1


def test_seeded_globals_depend_on_the_key_and_leave_no_trace():
    def draw(*key):
        with seeded_globals(*key):
            return random.random(), float(np.random.random())  # noqa: NPY002

    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert draw(1, 2) == draw(1, 2) != draw(1, 3)
    with pytest.raises(ZeroDivisionError), seeded_globals(4):
        random.random() / 0
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
