import json
import time

import pytest

from ssl_swin.__main__ import run
from ssl_swin.data.need import Needs, least_cache_bytes
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.remote.ahead import TrackedShares
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import RemoteError
from tests.conftest import TINY_MODEL
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import indexed_tars


@pytest.fixture
def there(tmp_path):
    with serving(indexed_tars(tmp_path / "there", [4] * 12, "{:02d}.tar")) as server:
        yield server


def until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def followed(shards, order, stop_step, num_in_flight=1):
    ahead = shards.storage.fetch_ahead(Needs(shards, order, 0, 1, stop_step).at)
    return ahead, TrackedShares(Shares(order, 0, 1, 0, stop_step), ahead, num_in_flight)


def test_shards_are_there_before_they_are_needed_and_let_go_afterwards(there, tmp_path):
    shards = remote_set(there.url, cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, 1, block_size=8)
    ahead, sampler = followed(shards, order, 12)
    try:
        draws = iter(sampler)
        assert len(sampler) == 12
        for step in range(12):
            next(draws)
            wanted = set(ahead.needed_at(step - step % 2)[0])
            assert set(order.shards_at(step).tolist()) <= wanted
            until(lambda wanted=wanted: set(ahead._held) == wanted)
            assert all(shards.storage.paths[shard].exists() for shard in wanted)
        last = ahead.needed_at(10)[0]  # the run ends there
        assert sorted(last) == order.shards_at(10).tolist()
    finally:
        ahead.close()
    assert not ahead._held
    assert not any(thread.is_alive() for thread in ahead._threads)
    assert all(there.gets[path.name] == 1 for path in shards.storage.paths)


def test_what_is_in_flight_is_held(there, tmp_path):
    shards = remote_set(there.url, cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, 1, block_size=8)
    ahead, sampler = followed(shards, order, 12, num_in_flight=4)
    try:
        draws = iter(sampler)
        for _ in range(5):
            next(draws)
        until(lambda: set(ahead._held) == set(ahead.needed_at(0)[0]))
        next(draws)
        until(lambda: set(ahead._held) == set(ahead.needed_at(2)[0]))
    finally:
        ahead.close()


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_a_run_goes_through_the_least_cache_without_a_double_download(there, tmp_path, num_lanes):
    shards = remote_set(there.url, cache_in(tmp_path))
    order = SetOrder(shards.counts, 0, 4, num_lanes, block_size=4)
    least = least_cache_bytes(shards, order, 1, 1)
    assert least < shards.bytes.sum()
    shards = remote_set(there.url, cache_in(tmp_path, least, room_wait_s=20))
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
    assert 0 < sum(there.gets[path.name] for path in shards.storage.paths) <= num_fetches


def test_an_error_is_left_for_whoever_needs_the_shard(there, tmp_path):
    shards = remote_set(there.url, cache_in(tmp_path))
    for path in shards.storage.paths[1:]:
        there.faults[path.name] = [404]
    order = SetOrder(shards.counts, 0, 4, 1, block_size=64)
    ahead, sampler = followed(shards, order, 12)
    try:
        next(iter(sampler))
        until(lambda: set(ahead._held) == {0} and len(ahead._tried) == 12)
    finally:
        ahead.close()
    with pytest.raises(RemoteError, match=r"01\.tar does not exist"):
        ShardReader(shards).read(1, 0)


def test_pretraining_from_afar_under_a_limit_ends_where_it_ends_from_disk(
    tiny_shards, tmp_path, capsys
):
    folder = tiny_shards([3] * 12)
    arguments = [
        *("pretrain", "configs/pretrain/demo.yaml", "--optim.epochs=2", "--optim.warmup-epochs=0"),
        *("--training.global-batch-size=4", "--data.num-lanes=1", "--data.block-size=4"),
        *("--training.log-every-steps=1", *TINY_MODEL),
    ]

    def train(name, shards, *more):
        places = [f"--data.{kind}={shards}" for kind in ("shards", "val_shards")]
        status = run([*arguments, *places, f"--run-dir={tmp_path / name}", *more])
        told = capsys.readouterr()
        return status, told.out + told.err

    assert train("here", folder)[0] == 0
    size = sum(path.stat().st_size for path in folder.glob("*.tar")) / 1e9
    with serving(folder) as server:
        there = [f"--data.cache-dir={tmp_path / 'cache'}", f"--data.cache-gb={0.5 * size:.9f}"]
        status, text = train("there", server.url, *there)
        assert status == 0
        assert "remote shards: at least 0.0" in text
        few = [there[0], f"--data.cache-gb={0.2 * size:.9f}"]
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
