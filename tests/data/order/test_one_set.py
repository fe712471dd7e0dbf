"""The order of one set: what is its own beside the laws in test_order_laws.py."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from ssl_swin.data.order.one_set import EpochOrder, SetOrder
from ssl_swin.data.order.shares import Shares

COUNTS = {
    "one shard": [97],
    "uneven": [5, 0, 17, 3, 40, 1, 9],
    "giant": [1, 500, 1, 1],
    "ends empty": [0, 0, 30, 30, 0],
    "sixty": [(shard * 37) % 23 for shard in range(60)],
}


def make(name="uneven", seed=0, batch=24, lanes=8, block=7):
    return SetOrder(np.array(COUNTS[name]), seed, batch, lanes, block)


def epoch_of(order, epoch=0):
    opened = order.opened(epoch)
    return np.stack([opened.samples(step) for step in range(order.steps_per_epoch)])


def test_another_number_of_ranks_goes_on_in_the_middle():
    order = make()
    before = [d.index for rank in range(8) for d in Shares(order, rank, 8, 0, 2)]
    after = [d.index for rank in range(3) for d in Shares(order, rank, 3, 2, 3)]
    assert sorted(np.concatenate(before + after)) == sorted(epoch_of(order).ravel())


def test_every_sample_is_dropped_sometimes_and_none_always():
    order = make()
    seen = [set(epoch_of(order, epoch).ravel().tolist()) for epoch in range(60)]
    assert len(set.union(*seen)) == order.num_samples
    assert len(set.intersection(*seen)) < order.num_samples - order.num_samples % 24


def test_the_order_never_changes():
    order = make(batch=12, lanes=4)
    assert order.opened(0).samples(0).tolist() == [27, 32, 28, 49, 50, 51, 6, 7, 64, 71, 70, 69]
    assert order.opened(0).samples(5).tolist() == [44, 41, 42, 62, 61, 60, 18, 20, 19, 4, 3, 22]
    assert order.opened(1).samples(2).tolist() == [4, 16, 10, 21, 32, 33, 47, 49, 54, 62, 68, 24]


def test_too_little_data_is_refused_naming_the_largest_batch_that_fits():
    with pytest.raises(ValueError, match=r"80 is larger .* 75 .*that fits 8 lanes is 72"):
        make(batch=80, lanes=8)
    assert make(batch=72, lanes=8).steps_per_epoch == 1
    assert make(batch=75, lanes=1).steps_per_epoch == 1


def test_a_billion_samples_open_in_bounded_memory():
    counts = np.full(100_000, 10_000)
    tracemalloc.start()
    order = SetOrder(counts, seed=0, global_batch_size=4096, num_lanes=64)
    epoch = order.opened(3)
    share = epoch.samples(order.steps_per_epoch // 2, rank=5, world_size=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(np.unique(share)) == 512
    assert peak < 30e6  # measured: 5.7 MB
    assert epoch._block.cache_info().misses == 8  # one block of each of the rank's lanes


def test_a_rank_touches_about_its_share_of_the_shards():
    order = SetOrder(np.full(64, 100), 0, 64, 64, 50)
    opened = order.opened(0)
    mine = np.concatenate([opened.samples(step, 3, 8) for step in range(order.steps_per_epoch)])
    assert len(np.unique(mine // 100)) <= 64 / 8 + 2


def test_a_batch_is_mixed_from_many_shards():
    """ImageNet's size: measured 0.42 % pairs of one shard; a full shuffle would have 0.1 %."""
    order = SetOrder(np.full(1000, 1280), 0, 1024, 64)
    opened = order.opened(0)
    same, largest, neighbours = [], [], []
    for step in range(0, order.steps_per_epoch, 50):
        batch = opened.samples(step)
        _, members = np.unique(batch // 1280, return_counts=True)
        same.append((members * (members - 1)).sum() / (1024 * 1023))
        largest.append(members.max() / 1024)
        neighbours.append((abs(np.diff(np.sort(batch))) == 1).mean())
    assert np.mean(same) < 0.005
    assert max(largest) < 0.02  # measured 0.013; a batch sees about 245 of the 1000 shards
    assert np.mean(neighbours) < 0.01  # images whose neighbour on the tar is in the batch: 0.0036


def test_places_map_the_order_into_a_part_of_the_shard_set():
    counts, places = np.array([75]), np.arange(75) * 10 + 3
    plain, mapped = (SetOrder(counts, 0, 24, 8, places=given) for given in (None, places))
    for step in range(4):
        assert (places[plain.share(step, 1, 2).index] == mapped.share(step, 1, 2).index).all()


def test_an_epoch_that_is_over_is_forgotten_at_once():
    order = SetOrder(np.array([75]), 0, 24, 8)
    epoch = EpochOrder(order, 0)
    epoch.samples(0)
    ended = weakref.ref(epoch)
    gc.disable()  # it would find it later, after dozens of epochs
    try:
        del epoch
        assert ended() is None
    finally:
        gc.enable()
