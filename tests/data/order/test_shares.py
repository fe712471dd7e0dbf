"""Shares of a rank, of training and of measuring, and their micro-batches."""

import itertools

import numpy as np
import pytest

from ssl_swin.data.order.shares import EvaluationShares, micro_batch_bounds

WORLD_SIZES = [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize("share", [1, 5, 8, 64])
@pytest.mark.parametrize("num", [1, 2, 3, 8, 9])
def test_micro_batches_cover_the_share_and_the_last_is_never_empty(share, num):
    bounds = micro_batch_bounds(share, num)
    assert [place for start, stop in bounds for place in range(start, stop)] == list(range(share))
    sizes = [stop - start for start, stop in bounds]
    assert len(sizes) == num
    assert sizes[-1] > 0
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num", [0, 1, 7, 100])
@pytest.mark.parametrize("world_size", WORLD_SIZES)
@pytest.mark.parametrize("batch_size", [1, 6, 1000])
def test_evaluation_reads_everything_once_without_padding(num, world_size, batch_size):
    index = np.arange(num) * 3
    shares = [EvaluationShares(index, batch_size, rank, world_size) for rank in range(world_size)]
    batches = [list(share) for share in shares]
    assert [len(share) for share in shares] == [len(part) for part in batches]
    found = [place for batch in itertools.chain(*batches) for place in batch.index.tolist()]
    assert sorted(found) == index.tolist()
    assert all(0 < len(batch.index) <= batch_size for batch in itertools.chain(*batches))
