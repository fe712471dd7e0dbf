import json
import time
from dataclasses import replace

import numpy as np
import pytest

from ssl_swin.__main__ import run
from ssl_swin.data.order.lanes import Stretches
from ssl_swin.data.order.mixture import Mixture
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.remote.ahead import (
    FetchAhead,
    Needs,
    TrackedShares,
    cache_plan,
    largest_stretches,
    least_cache_bytes,
)
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.shard_set import ShardReader, ShardSet
from ssl_swin.errors import ShardError
from tests.conftest import TINY_MODEL
from tests.data.remote.faulty import cache_in, serving
from tests.data.shards.tars import samples, write_tar

GB = 10**9


def plain_set(counts, sizes):
    return ShardSet((), np.array(counts), np.array(sizes))


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
        epoch, length = order.epoch(number), order.steps_per_epoch * per_lane
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


def test_a_limit_below_the_need_is_refused_with_the_figure(tmp_path):
    remote = type("Remote", (), {"cache": cache_in(tmp_path, 5 * GB)})()
    local = plain_set([9] * 9, [GB] * 9)
    far = replace(local, remote=remote)
    assert cache_plan(local, 4 * GB, None, 2) is None
    text = f"remote shards: at least 4.01 GB of cache, limit 5 GB, in {tmp_path}/shards"
    assert cache_plan(far, 4_000_000_001, None, 2) == text
    assert "at least 2 GB" in cache_plan(local, 4 * GB, far, 2)
    with pytest.raises(
        ShardError, match=r"at least 6 GB of cache .* hold 5 GB; set data\.cache_gb"
    ):
        cache_plan(far, 4 * GB, far, 2)


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    for place in range(12):
        write_tar(folder / f"{place:02d}.tar", samples(4, 4 * place))
    index_shards(sorted(folder.glob("*.tar")))
    with serving(folder) as server:
        yield server


def until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def followed(shards, order, stop_step, num_in_flight=1):
    ahead = FetchAhead(shards, Needs(shards, order, 0, 1, stop_step).at)
    return ahead, TrackedShares(Shares(order, 0, 1, 0, stop_step), ahead, num_in_flight)


def test_shards_are_there_before_they_are_needed_and_let_go_afterwards(there, tmp_path):
    shards = ShardSet.open(there.url, cache=cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, 1, block_size=8)
    ahead, sampler = followed(shards, order, 12)
    try:
        draws = iter(sampler)
        assert len(sampler) == 12
        for step in range(12):
            next(draws)
            wanted = set(ahead.at(step - step % 2)[0])
            assert set(order.shards_at(step).tolist()) <= wanted
            until(lambda wanted=wanted: set(ahead._held) == wanted)
            assert all(shards.paths[shard].exists() for shard in wanted)
        assert set(ahead.at(10)[0]) == set(order.shards_at(10).tolist())  # the run ends there
    finally:
        ahead.close()
    assert not ahead._held
    assert not any(thread.is_alive() for thread in ahead._threads)
    assert all(there.gets[path.name] == 1 for path in shards.paths)


def test_what_is_in_flight_is_held(there, tmp_path):
    shards = ShardSet.open(there.url, cache=cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, 1, block_size=8)
    ahead, sampler = followed(shards, order, 12, num_in_flight=4)
    try:
        draws = iter(sampler)
        for _ in range(5):
            next(draws)
        until(lambda: set(ahead._held) == set(ahead.at(0)[0]))
        next(draws)
        until(lambda: set(ahead._held) == set(ahead.at(2)[0]))
    finally:
        ahead.close()


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_a_run_goes_through_the_least_cache_without_a_double_download(there, tmp_path, num_lanes):
    shards = ShardSet.open(there.url, cache=cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, num_lanes, block_size=4)
    least = least_cache_bytes(shards, order, 1, 1)
    assert least < shards.bytes.sum()
    shards = ShardSet.open(there.url, cache=cache_in(tmp_path, least, room_wait_s=20))
    ahead, sampler = followed(shards, order, 3 * order.steps_per_epoch)
    reader, before, most, num_fetches = ShardReader(shards), set(), 0, 0
    try:
        for draw in sampler:
            wanted = set(ahead._wanted)
            until(lambda wanted=wanted: set(ahead._held) == wanted)  # all of it at once
            for shard, row in zip(*shards.locate(draw.index), strict=True):
                assert int(shard) in wanted
                assert reader.read(int(shard), int(row))
            most = max(most, int(shards.bytes[list(wanted)].sum()))
            num_fetches += len(wanted - before)
            before = wanted
    finally:
        ahead.close()
    assert 0.5 * least < most <= least
    assert 0 < sum(there.gets[path.name] for path in shards.paths) <= num_fetches


def test_an_error_is_left_for_whoever_needs_the_shard(there, tmp_path):
    shards = ShardSet.open(there.url, cache=cache_in(tmp_path))
    for path in shards.paths[1:]:
        there.faults[path.name] = [404]
    order = SetOrder(shards.counts, 0, 4, 1, block_size=64)
    ahead, sampler = followed(shards, order, 12)
    try:
        next(iter(sampler))
        until(lambda: set(ahead._held) == {0} and len(ahead._tried) == 12)
    finally:
        ahead.close()
    with pytest.raises(ShardError, match=r"01\.tar does not exist"):
        ShardReader(shards).read(1, 0)


def test_a_run_that_uses_some_places_needs_the_shards_of_these():
    shards = plain_set([4] * 6, [10] * 6)
    places = np.array([1, 2, 20])
    order = SetOrder(np.array([3]), 0, 3, 1, places=places)
    assert least_cache_bytes(shards, order, 1, 1) == 20
    assert Needs(shards, order, 0, 1, 9).at(4) == ([0, 5], 9)


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


def test_pretraining_from_afar_under_a_limit_ends_where_it_ends_from_disk(
    tiny_shards, tmp_path, capsys
):
    folder = tiny_shards([3] * 12)
    arguments = [
        *("pretrain", "configs/pretrain/demo.yaml", "--optim.epochs=2", "--optim.warmup_epochs=0"),
        *("--training.global_batch_size=4", "--data.num_lanes=1", "--data.block_size=4"),
        *("--training.log_every_steps=1", *TINY_MODEL),
    ]

    def train(name, shards, *more):
        places = [f"--data.{kind}={shards}" for kind in ("shards", "val_shards")]
        status = run([*arguments, *places, f"--run_dir={tmp_path / name}", *more])
        told = capsys.readouterr()
        return status, told.out + told.err

    assert train("here", folder)[0] == 0
    size = sum(path.stat().st_size for path in folder.glob("*.tar")) / 1e9
    with serving(folder) as server:
        there = [f"--data.cache_dir={tmp_path / 'cache'}", f"--data.cache_gb={0.5 * size:.9f}"]
        status, text = train("there", server.url, *there)
        assert status == 0
        assert "remote shards: at least 0.0" in text
        few = [there[0], f"--data.cache_gb={0.2 * size:.9f}"]
        status, text = train("few", server.url, *few)
        assert status == 2
        assert "error: the remote shards of this run need at least 0.0" in text
    kept = sum(path.stat().st_size for path in (tmp_path / "cache/shards").glob("*/*.tar"))
    assert 0 < kept <= 0.5e9 * size

    names = ("step", "train/loss", "heldout/heldout_loss")
    losses = {}
    for name in ("here", "there"):
        points = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        losses[name] = [[point.get(key) for key in names] for point in points]
    assert losses["here"] == losses["there"]
    assert len(losses["here"]) > 18
    status, text = train("there", folder)  # the same run, from a copy on this machine
    assert status == 0
    assert "is finished" in text
