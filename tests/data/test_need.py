import numpy as np
import pytest

from ssl_swin.data.need import Needs, cache_line, largest_stretches, least_cache_bytes
from ssl_swin.data.order.lanes import Stretches
from ssl_swin.data.order.mixture import Mixture
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.remote.remote_shards import RemoteShards
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in
from tests.data.shards.tars import plain_entries, plain_set

GB = 10**9


ORDERS = [
    (np.array([7, 0, 9, 1, 30, 2]), 4, 2, 3),
    (np.array([5] * 12), 6, 6, 4),
    (np.array([5] * 12), 12, 3, 2),  # a step takes two blocks of a lane
    (np.array([5] * 12), 10, 2, 3),  # blocks end within steps
    (np.array([0, 20]), 20, 1, 64),
    (np.array([3] * 7), 5, 1, 5),
]


@pytest.mark.parametrize(("counts", "batch", "lanes", "block"), ORDERS)
def test_the_shards_of_blocks_are_those_whose_samples_the_blocks_hold(counts, batch, lanes, block):
    order = SetOrder(counts, 3, batch, lanes, block)
    starts = np.concatenate([[0], np.cumsum(counts)])
    per_lane = batch // lanes
    for step in range(2 * order.steps_per_epoch):
        number, within = divmod(step, order.steps_per_epoch)
        epoch, length = order.opened(number), order.steps_per_epoch * per_lane
        first = within * per_lane // block * block
        last = min(-(-(within + 1) * per_lane // block) * block, length)
        ids = np.concatenate([epoch.lane(lane, first, last) for lane in range(lanes)])
        expected = np.unique(np.searchsorted(starts, ids, side="right") - 1)
        assert order.shards_at(step).tolist() == expected.tolist()
        parts = [order.shards_at(step, rank, lanes) for rank in range(lanes)]
        assert np.unique(np.concatenate(parts)).tolist() == expected.tolist()


@pytest.mark.parametrize(("counts", "batch", "lanes", "block"), ORDERS)
def test_the_next_block_is_the_first_that_is_not_in_hand(counts, batch, lanes, block):
    order = SetOrder(counts, 3, batch, lanes, block)
    per_lane = batch // lanes

    def blocks(step):
        number, within = divmod(step, order.steps_per_epoch)
        places = np.arange(within * per_lane, (within + 1) * per_lane)
        return {(number, place) for place in (places // block).tolist()}

    for step in range(2 * order.steps_per_epoch):
        later = (s for s in range(step, step + 1000) if not blocks(s) <= blocks(step))
        assert order.next_block(step) == next(later)


@pytest.mark.parametrize("per_shard", [10_000, 2_500, 700, None])
def test_one_process_with_the_default_lanes_stays_under_the_least_cache(per_shard):
    draw = np.random.default_rng(0)
    if per_shard is None:
        counts = draw.integers(0, 9000, 300)
        sizes = counts * draw.integers(50_000, 150_000, 300) + 1024
    else:
        counts = np.full(2_000_000 // per_shard, per_shard)
        sizes = np.full(len(counts), GB)
    shards = plain_set(counts, sizes)
    order = SetOrder(counts, 1, 2048, 64)
    least = least_cache_bytes(shards, order, devices=1, num_nodes=1)
    needs = Needs(shards, order, 0, 1, stop_step=2 * order.steps_per_epoch)
    most, step = 0, 0
    while step < needs.stop_step:
        held, after = needs.at(step)
        assert set(order.shards_at(step).tolist()) <= set(held)
        most = max(most, int(sizes[held].sum()))
        step = after
    assert step == needs.stop_step
    assert 0.5 * least < most <= least <= sizes.sum()
    if per_shard == 10_000:
        assert least == 128 * GB  # two shards for each lane
    halves = least_cache_bytes(shards, order, devices=2, num_nodes=2)
    assert least / 2 <= halves < least or least == sizes.sum()


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_the_shards_touches_more_than_the_bound(seed):
    draw = np.random.default_rng(seed)
    counts, sizes = draw.integers(0, 9, 12), draw.integers(1, 100, 12)
    window, num = int(draw.integers(1, 12)), int(draw.integers(1, 4))
    bound = largest_stretches(counts, sizes, Stretches(slice(None), num, window))
    for _ in range(300):
        order = draw.permutation(12)
        owner = np.repeat(order, counts[order])
        cuts = np.sort(draw.choice(max(len(owner) - num * (window - 1), num), num, replace=False))
        begins = cuts + np.arange(num) * (window - 1)
        touched = np.unique(np.concatenate([owner[b : b + window] for b in begins]))
        assert sizes[touched].sum() <= bound <= sizes.sum()


@pytest.mark.parametrize("per_shard", [10_000, 1000, 333, None])
@pytest.mark.parametrize("world_size", [1, 8])
def test_a_rank_reads_from_no_more_shards_at_once_than_it_says(per_shard, world_size):
    draw = np.random.default_rng(0)
    counts = np.full(800_000 // (per_shard or 1), per_shard or 1)
    counts = draw.integers(0, 3000, 600) if per_shard is None else counts
    order = SetOrder(counts, 1, 2048, 64)
    needs = Needs(plain_set(counts, counts), order, 0, world_size, 99)
    steps = range(0, 2 * order.steps_per_epoch, 16)
    most = max(len(order.shards_at(step, 0, world_size)) for step in steps)
    assert most <= needs.most_at_once() <= min(5 * most, len(counts))


@pytest.mark.parametrize(("batch", "block"), [(8, 50), (40, 50), (40, 7)])
def test_a_mixture_reads_from_few_more_shards_at_once_than_it_says(batch, block):
    counts = (np.full(60, 20), np.array([40, 30] * 5), np.full(60, 7))
    every = np.concatenate(counts)
    order = Mixture(counts, (5.0, 1.0, 2.0), 9600, 0, batch, 4, block)
    needs = Needs(plain_set(every, every), order, 1, 2, 99)
    starts = np.concatenate([[0], np.cumsum(every)])
    steps = [order.share(step, 1, 2).index for step in range(9600 // batch)]
    found = [len(np.unique(np.searchsorted(starts, one, side="right"))) for one in steps]
    assert np.quantile(found, 0.9) <= needs.most_at_once() <= len(every)


def test_a_limit_below_the_need_is_refused_with_the_figure(tmp_path):
    entries = plain_entries([9] * 9, [GB] * 9)
    local = plain_set([9] * 9, [GB] * 9)
    far = ShardSet(RemoteShards((), (), entries, cache_in(tmp_path, 5 * GB)))
    assert cache_line(local, lambda: 4 * GB, None, 2) is None
    text = f"remote shards: at least 4.01 GB of cache, limit 5 GB, in {tmp_path}/shards"
    assert cache_line(far, lambda: 4_000_000_001) == text
    assert "at least 2 GB" in cache_line(local, lambda: 4 * GB, far, 2)
    with pytest.raises(
        ShardError, match=r"at least 6 GB of cache .* hold 5 GB; set data\.cache_gb"
    ):
        cache_line(far, lambda: 4 * GB, far, 2)


def test_a_run_that_uses_some_places_needs_the_shards_of_these():
    shards = plain_set([4] * 6, [10] * 6)
    places = np.array([1, 2, 20])
    order = SetOrder(np.array([3]), 0, 3, 1, places=places)
    assert least_cache_bytes(shards, order, 1, 1) == 20
    assert Needs(shards, order, 0, 1, 9).at(4) == ([0, 5], 9)
    assert Needs(shards, order, 0, 1, 9).most_at_once() == 2


@pytest.mark.parametrize("block", [8, 50, 64])
def test_a_mixture_names_the_shards_it_reads_and_stays_under_the_least_cache(block):
    counts = (np.array([400, 0, 35, 900] * 9), np.array([40, 30]), np.full(60, 70))
    sizes = np.concatenate(counts) * 10 + 1
    shards = plain_set(np.concatenate(counts), sizes)
    order = Mixture(counts, (5.0, 1.0, 2.0), 9600, 0, 48, 4, block)
    least = least_cache_bytes(shards, order, devices=1, num_nodes=1)
    step, most = 0, 0
    for step in range(400):
        for rank in range(2):
            held = set(order.shards_at(step, rank, 2).tolist())
            assert set(shards.locate(order.share(step, rank, 2).index)[0].tolist()) <= held
        after = order.next_block(step)
        assert after > step
        both = np.union1d(order.shards_at(step), order.shards_at(after))
        most = max(most, int(sizes[both].sum()))
        for between in range(step, after):
            assert set(order.shards_at(between).tolist()) <= set(both.tolist())
    assert 0.1 * least < most <= least <= sizes.sum()
