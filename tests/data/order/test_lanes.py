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


@pytest.mark.parametrize("batch", [2048, 2304, 100, 67, 3000])
def test_a_run_that_begins_with_few_processes_has_the_lanes_of_any_other(batch):
    few = default_num_lanes(batch)
    assert {default_num_lanes(batch, world_size) for world_size in range(1, few + 1)} == {few}


@pytest.mark.parametrize(
    ("batch", "world_size", "lanes"),
    [
        (2048, 128, 256),  # so that 256 can go on
        (4096, 65, 256),
        (2304, 96, 192),
        (2048, 96, 1024),  # with 128 or 256 the largest share would be that of 64 processes
        (2048, 1024, 2048),
        (2048, 2048, 2048),  # one image each
        (2304, 1152, 2304),
        (2052, 1026, 2052),
        (100, 60, 100),  # of 50 lanes no 60 could live
        (67, 2, 67),
    ],
)
def test_more_processes_get_the_fewest_lanes_that_are_even_for_them_and_enough_for_twice_as_many(
    batch, world_size, lanes
):
    assert default_num_lanes(batch, world_size) == lanes


@pytest.mark.parametrize("batch", [67, 100, 1024, 2048, 2304, 3000, 4095])
def test_any_number_of_processes_up_to_the_images_of_a_batch_has_lanes(batch):
    for world_size in (2, 60, 65, 66, 72, 96, 100, 128, 200, 256, 500, 1024, 2000, batch):
        if world_size <= batch:
            lanes = default_num_lanes(batch, world_size)
            assert lanes >= world_size
            assert batch % lanes == 0
            assert len(rank_lanes(lanes, world_size - 1, world_size)) >= 1
    assert default_num_lanes(batch, batch + 1) == batch  # they are refused by this number


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
