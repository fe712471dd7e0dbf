"""Classes that come alike: exact parts, passes without repeats, any place found at once."""

from collections import Counter

import numpy as np
import pytest

from ssl_swin.data.order.balanced import BalancedOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.errors import UserError

PARTS = ("index", "epoch")
SIZES = [(1, 700, 12), (5,) * 4, (90,), (3, 0, 2000), (1, 1, 1), tuple(range(1, 40))]


def make(sizes, seed=0, lanes=6, batch=48):
    """Samples of each class lie anywhere, among others that are not used."""
    classes = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(1).shuffle(classes)
    batch = min(batch, len(classes) // lanes * lanes) or len(classes)
    lanes = lanes if batch % lanes == 0 else 1
    return BalancedOrder(3 * np.arange(len(classes)) + 1, classes, seed, batch, lanes)


def drawn(order, first=0, stop=60):
    """The samples of some steps, and the pass of each: (places,)."""
    shares = [order.share(step) for step in range(first, stop)]
    return tuple(np.concatenate([getattr(one, name) for one in shares]) for name in PARTS)


every_set = pytest.mark.parametrize("sizes", SIZES, ids=str)


@every_set
def test_each_round_has_every_class_once(sizes):
    order = make(sizes)
    index, _ = drawn(order)
    classes = order.classes[(index - 1) // 3]
    num = sum(size > 0 for size in sizes)
    whole = classes[: len(classes) // num * num].reshape(-1, num)
    assert (np.sort(whole, axis=1) == np.flatnonzero(sizes)).all()
    if num > 2:
        assert len(np.unique(whole, axis=0)) > 1


@every_set
def test_an_image_comes_again_only_after_all_others_of_its_class(sizes):
    order = make(sizes)
    index, passes = drawn(order)
    classes = order.classes[(index - 1) // 3]
    for kind in np.flatnonzero(sizes):
        mine, size = classes == kind, sizes[kind]
        for start in range(0, mine.sum(), size):
            one = index[mine][start : start + size]
            assert len(np.unique(one)) == len(one)
            assert (passes[mine][start : start + size] == start // size).all()
    assert max(Counter(zip(index, passes, strict=True)).values()) == 1  # so no crop comes twice


@every_set
def test_it_says_how_often_an_image_is_seen_in_an_epoch(sizes):
    order = make(sizes)
    for epoch in range(3):
        steps = order.steps_per_epoch
        index, _ = drawn(order, epoch * steps, (epoch + 1) * steps)
        classes = order.classes[(index - 1) // 3]
        for kind, times in zip(np.flatnonzero(sizes), order.times_seen(), strict=True):
            seen = np.bincount(index[classes == kind] // 3, minlength=len(order.places))
            seen = seen[order.classes == kind]
            assert abs(seen.mean() - times) < 2 / sizes[kind]  # a round begun at either end
            assert set(seen.tolist()) <= {int(times) + more for more in (-1, 0, 1, 2)}


@every_set
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_the_shares_of_all_ranks_end_to_end_are_the_global_batch(sizes, world_size):
    order = make(sizes)
    if world_size > order.num_lanes:
        with pytest.raises(UserError, match="processes cannot share"):
            order.share(0, 0, world_size)
        return
    for step in (0, 7, order.steps_per_epoch, 1234):
        shares = [order.share(step, rank, world_size) for rank in range(world_size)]
        whole = order.share(step)
        for name in PARTS:
            joined = np.concatenate([getattr(one, name) for one in shares])
            assert (joined == getattr(whole, name)).all()
        assert [len(one.index) for one in shares] == [
            order.share_size(rank, world_size) for rank in range(world_size)
        ]


@every_set
def test_a_step_drawn_alone_is_the_one_of_the_walk(sizes):
    walk = list(Shares(make(sizes), 0, 1, 0, 40))
    for step in (39, 0, 17, 3):
        (alone,) = Shares(make(sizes), 0, 1, step, step + 1)
        assert (alone.index == walk[step].index).all()
        assert (alone.epoch == walk[step].epoch).all()


def test_seeds_have_orders_of_their_own():
    one, other = (drawn(make(SIZES[0], seed))[0] for seed in (0, 1))
    assert (one == other).mean() < 0.4  # a third is the one image of its class


def test_all_shards_count_as_one():
    order = make(SIZES[0])
    assert order.shards_at(3).tolist() == [0]
    assert (order.next_block(3), order.begins_ring(3)) == (4, False)
    (stretch,) = order.in_hand(6)
    assert (stretch.num, stretch.num_samples) == (1, 713)


def test_lanes_divide_the_batch():
    with pytest.raises(UserError, match="does not divide"):
        BalancedOrder(np.arange(8), np.zeros(8, int), 0, 4, 3)
