import re
import shutil
from itertools import islice

import numpy as np
import pytest
import webdataset

from ssl_swin.__main__ import run
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.need import cache_line, least_cache_bytes
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.remote.remote_shards import RemoteShards
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.doctor import DoctorSettings, _tell_cache, advice, all_shares, doctor
from ssl_swin.shard_tools.timing import STAGES, OneCore, time_stages
from tests.data.pixels.pictures import encoded, photograph
from tests.data.pixels.test_array_files import npy
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import plain_entries, plain_set, write_tar


def one_core(ms=(0.1, 0.1, 1.0, 0.3), short_side=256, jpegs=1.0):
    stages = dict(zip(STAGES, np.array(ms), strict=True))  # of 1000 images
    return OneCore(stages, 1000, int(1000 * jpegs), 10**8, [short_side] * int(10 * jpegs))


def need(batch, step_s, processes, num_lanes=None):
    named = {"batch": batch, "step_s": step_s, "processes": processes, "num_lanes": num_lanes}
    return DoctorSettings("shards", **named)


@pytest.mark.parametrize("batch", [1, 64, 128])
@pytest.mark.parametrize("step_s", [0.03, 0.25, 2.0])
@pytest.mark.parametrize("per_worker", [5.0, 500.0])
def test_as_few_workers_as_feed_the_step(batch, step_s, per_worker):
    for processes in (1, 8):
        workers = need(batch, step_s, processes).workers(per_worker)
        assert workers * per_worker * step_s >= batch * (1 - 1e-9)
        assert (workers - 1) * per_worker * step_s < batch


def test_what_training_takes_may_be_given_as_a_rate(photographs, capsys):
    settings = DoctorSettings("shards", images_per_s=2000.0, processes=4)
    assert (settings.takes, settings.workers(100.0)) == (2000, 5)
    lines = advice(one_core(), 100.0, settings, cores=8)
    assert lines[0] == "data.num_workers=5 feeds 500 images/s to each of 4 training processes."
    assert "bring 400 images/s, it takes 2000" in lines[1]
    options = ["--img-size=32", "--seconds=0.05", "--num-workers=1", "--images-per-s=0.5"]
    assert run(["doctor", f"--data={photographs}", *options]) == 0
    assert "would not wait" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "settings", "expected", "unexpected"),
    [
        (one_core(), need(100, 0.5, 1), ["num_workers=1 ", "would not wait"], ["would wait"]),
        (one_core(), need(100, 0.1, 1), ["num_workers=2 ", "wait for data, 40%"], ["short_side"]),
        (one_core(), need(100, 0.5, 2), ["each of 2 training processes", "wait"], ["not wait"]),
        (one_core(short_side=512), need(1, 1, 1), ["4.0 times", "--short-side 256"], ["Storage"]),
        (one_core((2, 0.1, 1, 0.3)), need(1, 1, 1), ["Storage is slow"], ["no JPEGs"]),
        (one_core(jpegs=0.2), need(1, 1, 1), ["no JPEGs"], ["short_side"]),
        (one_core(jpegs=0.0), need(1, 1, 1), ["no JPEGs"], ["short_side"]),
    ],
)
def test_what_was_timed_is_put_into_words(one, settings, expected, unexpected):
    several = settings.processes == 2
    text = "\n".join(advice(one, 120 if several else 600, settings, cores=3 if several else 2))
    assert all(word in text for word in expected)
    assert not any(word in text for word in unexpected)


def test_the_command_says_what_it_found(photographs, capsys):
    options = ["--img-size=32", "--seconds=0.05", "--num-workers=1", "--batch=4", "--step-s=10"]
    assert run(["doctor", f"--data={photographs}", *options]) == 0
    text = capsys.readouterr().out
    for word in (*STAGES, "one core", "1 loader processes", "would not wait", "num_workers=1"):
        assert word in text


def test_what_was_left_out_is_said(photographs, tmp_path, capsys):
    shutil.copy(photographs / "a.tar", tmp_path)
    write_tar(tmp_path / "b.tar", [("x.txt", b"")])
    doctor(DoctorSettings(str(tmp_path), img_size=32, seconds=0.05, num_workers=1, batch=4))
    assert f"left out of {tmp_path}: 1 keys without an image, as 'x.txt'" in capsys.readouterr().out


def test_the_least_cache_of_remote_shards_is_told_and_a_smaller_one_refused(
    photographs, tmp_path, capsys
):
    options = {"img_size": 32, "seconds": 0.05, "num_workers": 1, "cache_dir": str(tmp_path)}
    least = sum(path.stat().st_size for path in photographs.glob("*.tar"))
    with serving(photographs) as server:
        doctor(DoctorSettings(server.url, **options, cache_gb=1))
        told = re.match(r"remote shards: at least (\S+) GB of cache", capsys.readouterr().out)
        assert told
        assert least <= float(told[1]) * 1e9 < 1.01 * least
        with pytest.raises(ShardError, match=r"need at least .* set data\.cache_gb"):
            doctor(DoctorSettings(server.url, **options, cache_gb=least / 2e9))


@pytest.mark.parametrize(
    ("batch", "processes", "lanes"), [(1536, 1, None), (384, 4, 64), (96, 8, 8)]
)
def test_the_cache_is_told_for_the_batch_and_the_blocks_of_the_run(
    tmp_path, capsys, batch, processes, lanes
):
    counts = np.full(400, 10_000)
    entries = plain_entries(counts, np.full(400, 10**9))
    shards = ShardSet(RemoteShards((), (), entries, cache_in(tmp_path, 10**13)))
    _tell_cache(shards, need(batch, 1.0, processes, lanes))
    order = SetOrder(counts, 7, batch * processes, lanes or 64)
    expected = cache_line(shards, lambda: least_cache_bytes(shards, order, processes, 1))
    assert capsys.readouterr().out == f"{expected}\n"
    with pytest.raises(ValueError, match="does not divide"):
        _tell_cache(shards, need(batch, 1.0, processes, 7))


@pytest.mark.parametrize(("num_lanes", "expected"), [(None, 64), (64, 64), (10, 8), (1, 1)])
def test_local_shards_are_read_in_as_many_lanes_as_fit_the_run(num_lanes, expected):
    shards = plain_set(np.full(400, 10_000), np.full(400, 10**9))
    shares = all_shares(shards, shards.storage.bring(20), num_lanes)
    assert (shares.order.num_lanes, shares.order.global_batch_size) == (expected, 64)


def test_of_remote_shards_a_few_are_fetched_before_the_clock_starts(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "there"
    folder.mkdir()
    for place in range(6):
        image = encoded(photograph((60, 60), seed=place), "JPEG")
        write_tar(folder / f"{place}.tar", [(f"{i:02d}.jpg", image) for i in range(10)])
    monkeypatch.setattr("ssl_swin.shard_tools.doctor.REMOTE_SAMPLES", 20)
    options = {"img_size": 32, "seconds": 0.05, "num_workers": 1, "batch": 8, "num_lanes": 4}
    with serving(folder) as server:
        shards = remote_set(server.url, cache_in(tmp_path))
        shares = all_shares(shards, shards.storage.bring(20))
        read = [shards.locate(share.index)[0] for share in islice(shares, 40)]
        assert np.unique(read).tolist() == [0, 1]
        sent = server.sent.copy()
        stream = ImageStream(shards, TrainTransform(0, 32, (0.67, 1.0)), 32, in_chans=3)
        assert time_stages(stream, shares, 0.05).num_images
        assert server.sent == sent
        doctor(DoctorSettings(server.url, **options, cache_dir=str(tmp_path / "cache"), cache_gb=1))
        assert "images/s" in capsys.readouterr().out
        kept = sorted(path.name for path in tmp_path.glob("cache/shards/*/*.tar"))
    assert kept == ["0.tar", "1.tar"]


QUICK = ["--seconds=0.05", "--num-workers=1", "--batch=4", "--step-s=10", "--img-size=[16,24]"]


def test_numbers_as_they_are_are_looked_at_and_timed(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        for place in range(12):
            values = rng.normal(0, 1, (5, 30, 40)).astype(np.float32)
            values[:, :6, :10] = -9
            data = b"no array" if place == 7 else npy(values)
            tar.write({"__key__": f"t{place}", "input.npy": data})
    (tmp_path / "labels.csv").write_text("key,label\n" + "".join(f"t{n},wheat\n" for n in range(9)))
    words = ["doctor", f"--data={tmp_path}", *QUICK]
    assert run(words) == 0
    text = " ".join(capsys.readouterr().out.split())
    for line in (
        "numbers as they are: float32, channels: 5",
        "1 of 12 images looked at cannot be read, such as 't7'",
        "5 % of the pixels are -9 in all channels",
        "images read cannot be decoded: ssl-swin shards verify names them",
    ):
        assert line in text
    assert "no JPEGs" not in text
    assert run([*words, "--nodata=-9", f"--labels={tmp_path / 'labels.csv'}"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "5 % of their numbers are none" in text
    assert "3 of 12 images have no label" in text
    assert "labels: 1 classes, numbered 0 to 0" in text
    assert run([*words, "--labels=gone.csv"]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"img_size": (0, 8)},
        {"batch": 0},
        {"step_s": 0},
        {"images_per_s": 0},
        {"num_workers": -1},
        {"crop_scale": (0.5, 1.5)},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"{name}="):
        DoctorSettings("shards", **wrong)
