import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.remote.ahead import cache_plan, least_cache_bytes
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.doctor import (
    STAGES,
    Need,
    OneCore,
    _fetch,
    _tell_cache,
    advice,
    all_draws,
    doctor,
    measure_stages,
    measure_workers,
)
from tests.data.pixels.pictures import encoded, photograph
from tests.data.remote.faulty import cache_in, serving
from tests.data.shards.tars import write_tar


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    members = [
        (f"{i:04d}.jpg", encoded(photograph((90, 60 + i), seed=i), "JPEG")) for i in range(18)
    ]
    members.append(("0018.jpg", b"no image"))
    members.append(("0019.png", encoded(photograph((90, 60)), "PNG")))
    write_tar(folder / "a.tar", members)
    return folder


def one_core(ms=(0.1, 0.1, 1.0, 0.3), short_side=256, jpegs=1.0):
    stages = dict(zip(STAGES, np.array(ms), strict=True))  # of 1000 images
    return OneCore(stages, 1000, int(1000 * jpegs), 10**8, [short_side] * int(10 * jpegs))


def test_stages_are_measured_over_every_image(shards):
    found = ShardSet.open(str(shards))
    stream = ImageStream(found, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
    one = measure_stages(stream, all_draws(found), 0.05)
    assert one.num_images % 20 == 0
    assert one.num_jpegs * 20 == one.num_images * 18
    assert one.num_bytes * 20 == one.num_images * int(found.rows(0)["size"].sum())
    assert {60 + i for i in range(18)} == set(one.short_sides)
    assert all(seconds > 0 for seconds in one.stages_s.values())
    assert sum(one.shares().values()) == pytest.approx(1)
    assert 10 < one.images_per_s < 100_000


def test_workers_are_measured_together(shards):
    found = ShardSet.open(str(shards))
    stream = ImageStream(found, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
    assert 10 < measure_workers(stream, all_draws(found), 1, 0.05) < 100_000


@pytest.mark.parametrize("batch", [1, 64, 128])
@pytest.mark.parametrize("step_s", [0.03, 0.25, 2.0])
@pytest.mark.parametrize("per_worker", [5.0, 500.0])
def test_as_few_workers_as_feed_the_step(batch, step_s, per_worker):
    for processes in (1, 8):
        need = Need(batch, step_s, processes)
        workers = need.workers(per_worker)
        assert workers * per_worker * step_s >= batch * (1 - 1e-9)
        assert (workers - 1) * per_worker * step_s < batch


@pytest.mark.parametrize(
    ("one", "need", "expected", "unexpected"),
    [
        (one_core(), Need(100, 0.5, 1), ["num_workers=1 ", "would not wait"], ["would wait"]),
        (one_core(), Need(100, 0.1, 1), ["num_workers=2 ", "wait for data, 40%"], ["short_side"]),
        (one_core(), Need(100, 0.5, 2), ["each of 2 training processes", "wait"], ["not wait"]),
        (one_core(short_side=512), Need(1, 1, 1), ["4.0 times", "--short_side 256"], ["Storage"]),
        (one_core((2, 0.1, 1, 0.3)), Need(1, 1, 1), ["Storage is slow"], ["no JPEGs"]),
        (one_core(jpegs=0.2), Need(1, 1, 1), ["no JPEGs"], ["short_side"]),
        (one_core(jpegs=0.0), Need(1, 1, 1), ["no JPEGs"], ["short_side"]),
    ],
)
def test_what_is_measured_is_put_into_words(one, need, expected, unexpected):
    cores = 3 if need.processes == 2 else 2
    text = "\n".join(advice(one, 600 / (1 + (need.processes == 2) * 4), need, cores, 192))
    assert all(word in text for word in expected)
    assert not any(word in text for word in unexpected)


def test_the_command_says_what_it_found(shards, capsys):
    doctor(str(shards), img_size=32, seconds=0.05, num_workers=1, batch=4, step_s=10)
    text = capsys.readouterr().out
    for word in (*STAGES, "one core", "1 loader processes", "would not wait", "num_workers=1"):
        assert word in text


def test_the_least_cache_of_remote_shards_is_told_and_a_smaller_one_refused(
    shards, tmp_path, capsys
):
    options = {"img_size": 32, "seconds": 0.05, "num_workers": 1, "cache_dir": str(tmp_path)}
    least = sum(path.stat().st_size for path in shards.glob("*.tar"))
    with serving(shards) as server:
        doctor(server.url, **options, cache_gb=1)
        told = re.match(r"remote shards: at least (\S+) GB of cache", capsys.readouterr().out)
        assert told
        assert least <= float(told[1]) * 1e9 < 1.01 * least
        with pytest.raises(ShardError, match=r"need at least .* set data\.cache_gb"):
            doctor(server.url, **options, cache_gb=least / 2e9)


@pytest.mark.parametrize(
    ("batch", "processes", "lanes"), [(1536, 1, None), (384, 4, 64), (96, 8, 8)]
)
def test_the_cache_is_told_for_the_batch_and_the_blocks_of_the_run(
    tmp_path, capsys, batch, processes, lanes
):
    remote = type("Remote", (), {"cache": cache_in(tmp_path, 10**13)})()
    counts = np.full(400, 10_000)
    shards = replace(ShardSet((), counts, np.full(400, 10**9)), remote=remote)
    _tell_cache(shards, Need(batch, 1.0, processes), lanes)
    order = SetOrder(counts, 7, batch * processes, lanes or 64)
    expected = cache_plan(shards, least_cache_bytes(shards, order, processes, 1), None, 0)
    assert capsys.readouterr().out == f"{expected}\n"
    with pytest.raises(ValueError, match="does not divide"):
        _tell_cache(shards, Need(batch, 1.0, processes), 7)


@pytest.mark.parametrize(("num_lanes", "expected"), [(None, 64), (64, 64), (10, 8), (1, 1)])
def test_local_shards_are_measured_in_as_many_lanes_as_fit_the_run(num_lanes, expected):
    draws = all_draws(ShardSet((), np.full(400, 10_000), np.full(400, 10**9)), num_lanes)
    assert (draws.order.num_lanes, draws.order.global_batch_size) == (expected, 64)


def test_of_remote_shards_a_few_are_fetched_before_the_clock_starts(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "there"
    folder.mkdir()
    for place in range(6):
        image = encoded(photograph((60, 60), seed=place), "JPEG")
        write_tar(folder / f"{place}.tar", [(f"{i:02d}.jpg", image) for i in range(10)])
    monkeypatch.setattr("ssl_swin.shard_tools.doctor.REMOTE_SAMPLES", 20)
    options = {"img_size": 32, "seconds": 0.05, "num_workers": 1, "batch": 8, "num_lanes": 4}
    with serving(folder) as server:
        shards = ShardSet.open(server.url, cache=cache_in(tmp_path))
        draws = all_draws(shards)
        read = [shards.locate(draw.index)[0] for draw in islice(draws, 40)]
        assert np.unique(read).tolist() == [0, 1]
        _fetch(shards)
        sent = server.sent.copy()
        stream = ImageStream(shards, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
        assert measure_stages(stream, draws, 0.05).num_images
        assert server.sent == sent
        doctor(server.url, **options, cache_dir=str(tmp_path / "cache"), cache_gb=1)
        assert "images/s" in capsys.readouterr().out
        kept = sorted(path.name for path in tmp_path.glob("cache/shards/*/*.tar"))
    assert kept == ["0.tar", "1.tar"]


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"step_s": 0}, {"num_workers": -1}, {"crop_scale": (0.5, 1.5)}]
)
def test_numbers_that_make_no_sense_are_refused(shards, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        doctor(str(shards), **wrong)
