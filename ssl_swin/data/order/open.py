"""The settings of a run -> its order."""

import numpy as np

from ssl_swin.data.order.balanced import BalancedOrder
from ssl_swin.data.order.lanes import Dealing, Order, default_num_lanes
from ssl_swin.data.order.mixture import Mixture
from ssl_swin.data.order.one_set import SetOrder


def open_order(
    counts: tuple[np.ndarray, ...],
    dealing: Dealing,
    weights: tuple[float, ...] = (),
    samples_per_epoch: int | None = None,
    places: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> Order:
    """Return the order of one set, or of several with weights, or of classes that come alike.

    Args:
        counts: Samples in each shard of each set, int64 (num_shards,) each.
        dealing: How the samples are dealt out.
        weights: Of each set; empty for one set that is gone through evenly.
        samples_per_epoch: Of a mixture; None means as many as the sets hold.
        places: As in `SetOrder`, for one set; its errors and those of `Mixture` hold here too.
        classes: Of the samples of one set, as in `BalancedOrder`; None if they need not come alike.
    """
    seed, batch = dealing.seed, dealing.global_batch_size
    lanes = default_num_lanes(batch) if dealing.num_lanes is None else dealing.num_lanes
    if not weights:
        (alone,) = counts
        order = SetOrder(alone, seed, batch, lanes, dealing.block_size, places)
        if classes is None:
            return order
        every = np.arange(len(classes)) if places is None else places
        return BalancedOrder(every, classes, seed, batch, lanes)
    if samples_per_epoch is None:
        samples_per_epoch = int(sum(one.sum() for one in counts))
    return Mixture(counts, weights, samples_per_epoch, seed, batch, lanes, dealing.block_size)
