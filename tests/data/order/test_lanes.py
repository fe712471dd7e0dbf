"""Lanes of a rank, and shares laid end to end."""

import itertools

import numpy as np
import pytest

from ssl_swin.data.order.lanes import Share, default_num_lanes, rank_lanes
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.errors import UserError


@pytest.mark.parametrize("num_lanes", [1, 7, 64])
def test_lanes_are_dealt_out_once_and_almost_evenly(num_lanes):
    for world_size in range(1, num_lanes + 1):
        lanes = [rank_lanes(num_lanes, rank, world_size) for rank in range(world_size)]
        assert list(itertools.chain(*lanes)) == list(range(num_lanes))
        sizes = [len(part) for part in lanes]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("batch", "lanes"), [(2048, 64), (100, 50), (63, 63), (67, 1), (6, 6)])
def test_the_default_lanes_are_the_largest_divisor_up_to_64(batch, lanes):
    assert default_num_lanes(batch) == lanes


def test_more_ranks_than_lanes_are_refused():
    with pytest.raises(UserError, match=r"9 processes cannot share data.num_lanes=8 lanes") as info:
        rank_lanes(8, 0, 9)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("lanes", [0, -1, 5, 48])
def test_lanes_that_do_not_divide_the_batch_are_refused(lanes):
    with pytest.raises(UserError, match=rf"num_lanes={lanes} does not divide .*example 24"):
        SetOrder(np.array([24]), 0, 24, lanes)


def test_joined_shares_keep_the_epoch_of_each_sample():
    joined = Share.join([Share(3, np.array([5, 6])), Share(np.array([0, 1]), np.array([7, 8]))])
    assert joined.epoch.tolist() == [3, 3, 0, 1]
    assert joined.index.tolist() == [5, 6, 7, 8]
