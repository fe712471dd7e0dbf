"""Settings of a run -> the order of one set, or a mixture."""

import numpy as np
import pytest

from ssl_swin.data.order.balanced import BalancedOrder
from ssl_swin.data.order.lanes import Dealing
from ssl_swin.data.order.mixture import Mixture
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.open import open_order

COUNTS = (np.array([400, 1, 0, 350]), np.array([90, 30]), np.array([3000]))
WEIGHTS = (5.0, 2.0, 3.0)


def test_one_set_without_a_weight_is_gone_through_evenly():
    order = open_order(COUNTS[:1], Dealing(seed=3, global_batch_size=48, block_size=64))
    assert isinstance(order, SetOrder)
    assert (order.seed, order.num_lanes, order.block_size, order.places) == (3, 48, 64, None)
    same = SetOrder(COUNTS[0], 3, 48, 48, 64)
    assert order.steps_per_epoch == same.steps_per_epoch == 751 // 48
    assert all((order.share(step).index == same.share(step).index).all() for step in range(30))
    places, dealing = np.array([7, 8, 9, 700]), Dealing(seed=3, global_batch_size=4, num_lanes=2)
    some = open_order((np.array([4]),), dealing, places=places)
    assert some.num_lanes == 2
    assert sorted(some.share(0).index.tolist()) == [7, 8, 9, 700]


def test_classes_that_come_alike_are_of_the_images_that_are_used():
    dealing, classes = Dealing(seed=3, global_batch_size=4), np.array([0, 0, 0, 1])
    order = open_order((np.array([4]),), dealing, classes=classes)
    assert isinstance(order, BalancedOrder)
    assert order.places.tolist() == [0, 1, 2, 3]
    some = open_order((np.array([4]),), dealing, places=np.array([7, 8, 9, 700]), classes=classes)
    assert np.bincount(some.share(0).index, minlength=701)[700] == 2
    with pytest.raises(ValueError, match="is larger than the data"):
        open_order((np.array([3]),), dealing, classes=classes[1:])


@pytest.mark.parametrize(("samples_per_epoch", "steps"), [(None, 3871 // 96), (960, 10)])
def test_several_sets_are_a_mixture_of_as_many_samples_as_they_hold(samples_per_epoch, steps):
    order = open_order(COUNTS, Dealing(3, 96, block_size=64), WEIGHTS, samples_per_epoch)
    assert isinstance(order, Mixture)
    assert (order.weights, order.num_lanes, order.steps_per_epoch) == (WEIGHTS, 48, steps)
    same = Mixture(COUNTS, WEIGHTS, order.samples_per_epoch, 3, 96, 48, 64)
    assert all((order.share(step).index == same.share(step).index).all() for step in range(30))


@pytest.mark.parametrize(
    ("samples_per_epoch", "num_lanes", "message"),
    [(0, None, "samples_per_epoch=0 is less than one"), (None, 0, "num_lanes=0 does not divide")],
)
def test_nothing_is_not_taken_for_left_out(samples_per_epoch, num_lanes, message):
    with pytest.raises(ValueError, match=message):
        open_order(COUNTS, Dealing(3, 96, num_lanes), WEIGHTS, samples_per_epoch)
