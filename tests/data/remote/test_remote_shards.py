import shutil
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from ssl_swin.__main__ import run
from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import RemoteError, ShardError, one_line
from tests.data.remote.faulty import cache_in, remote_set, serving, serving_s3
from tests.data.remote.sets import THIRD, add_hashes, contents, open_at, other_tar
from tests.data.shards.tars import samples, write_tar


@pytest.mark.parametrize(
    ("pattern", "local"),
    [
        ("", "*.tar"),
        ("/", "*.tar"),
        ("/train-{000000..000003}.tar", "*.tar"),
        ("/train-00000{3..1}.tar", "train-00000{3..1}.tar"),
        ("/{train-000003,train-000000}.tar?key=secret", "{train-000003,train-000000}.tar"),
        ("/train-*[02].tar", "train-*[02].tar"),
        (f"/{THIRD}", THIRD),
        ("/../../train-000000.tar", "train-000000.tar"),
    ],
)
def test_a_remote_set_is_the_set_of_a_local_copy(folder, server, tmp_path, pattern, local):
    here = open_shards(str(folder / local))
    there = open_at(server, tmp_path, pattern)
    assert there.describe() == here.describe()
    assert contents(there) == contents(here)
    root = there.storage.cache.room.root
    assert all(path.parent.parent == root for path in there.storage.paths)


FAULTS = {
    "500s": [500, 500, None],
    "cut connections": [("cut", 700), ("cut", 10), ("cut", 0), None],
    "slow bodies": [("stall", 600), None],
    "wrong lengths": [("length", 512), ("short", 512), None],
    "too many requests": [429, 503, None],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_that_pass_leave_the_batches_as_from_disk(tiny_shards, tmp_path, fault):
    folder = tiny_shards([5, 3, 6, 2], {4})
    here = open_shards(str(folder))
    order = SetOrder(here.counts, 0, 4, 2, block_size=4)
    loader = partial(DataLoader, batch_sampler=Shares(order, 0, 1, 0, 7), collate_fn=collate)
    stream = partial(ImageStream, transform=TrainTransform(0, 28, (0.3, 1)), img_size=28)
    with serving(folder) as server:
        for path in here.storage.paths:
            server.faults[path.name] = list(FAULTS[fault])
        there = open_at(server, tmp_path)
        streams = [stream(shards, in_chans=1, labels=Labels(10)) for shards in (here, there)]
        expected = list(loader(streams[0]))
        for workers in (2, 0):
            batches = list(loader(streams[1], num_workers=workers))
            assert len(batches) == len(expected) == 7
            for batch, other in zip(batches, expected, strict=True):
                assert all(torch.equal(batch[name], other[name]) for name in other)


@pytest.mark.parametrize("num", [5, 50])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_replaced_shard_is_refused_after_two_looks(folder, server, tmp_path, num, hashed):
    if hashed:
        add_hashes(folder)
    shards = open_at(server, tmp_path)
    (folder / THIRD).write_bytes(other_tar(tmp_path, num))
    message = rf"{THIRD} changed since it was indexed .*run: ssl-swin shards index http"
    with pytest.raises(ShardError, match=message) as error:
        ShardReader(shards).read(2, 0)
    assert not isinstance(error.value, RemoteError)
    assert server.gets[THIRD] == (2 if num == 5 else 0)  # another length is seen beforehand
    assert not list(shards.storage.paths[2].parent.glob(".train*"))
    assert ShardReader(shards).read(3, 0)


def test_a_hash_finds_what_size_and_headers_do_not(folder, server, tmp_path):
    content = bytearray((folder / THIRD).read_bytes())
    shards = open_at(server, tmp_path)
    content[int(shards.storage.rows(2)[2]["offset"])] ^= 1
    add_hashes(folder)
    shards = open_at(server, tmp_path)
    (folder / THIRD).write_bytes(content)
    with pytest.raises(ShardError, match=r"\(sha256 \w{12} then, \w{12} now\)"):
        ShardReader(shards).read(2, 0)


def test_a_tar_in_the_cache_that_is_of_an_older_index_is_fetched_again(folder, server, tmp_path):
    shards = open_at(server, tmp_path)
    before = contents(shards)
    shards.storage.paths[2].write_bytes(other_tar(tmp_path, 5))  # of the same size
    assert contents(open_at(server, tmp_path)) == before
    (folder / THIRD).write_bytes(other_tar(tmp_path, 6))
    index_shards([folder / THIRD])
    assert contents(open_at(server, tmp_path)) == contents(open_shards(str(folder)))
    assert server.gets[THIRD] == 3


def test_what_is_known_of_a_shard_does_not_grow_with_each_download(server, tmp_path):
    shards = open_at(server, tmp_path)
    for turn in range(5):
        contents(shards)
        for shard in (0, 2, 3):
            assert shards.storage._checked[shard] == shards.storage.paths[shard].stat().st_ino
            shards.storage.paths[shard].rename(
                tmp_path / f"{shard}-{turn}"
            )  # its inode stays taken
    assert len(shards.storage._checked) == 3
    assert server.gets[THIRD] == 5


def test_a_loader_worker_says_it_in_one_line(server, tmp_path):
    shards = open_at(server, tmp_path)
    server.faults[THIRD] = [404]
    stream = ImageStream(shards, TrainTransform(0, 28, (0.3, 1)), 28, 3)
    order = SetOrder(shards.counts, 0, 12, 1)
    loader = DataLoader(stream, batch_sampler=Shares(order, 0, 1, 0, 1), num_workers=1)
    server.faults["train-000000.tar"] = server.faults["train-000003.tar"] = [404]
    with pytest.raises(RemoteError) as error:
        list(loader)
    line = one_line(error.value)
    assert line.startswith(f"{server.url}/train-00000")
    assert line.endswith(".tar does not exist")


def test_the_commands_take_urls(folder, server, tmp_path, capsys):
    (folder / MANIFEST_NAME).unlink()
    write_tar(folder / THIRD, samples(7))
    (folder / f"{THIRD}.index.npy").unlink()
    options = [f"--cache-dir={tmp_path / 'cache'}"]
    assert run(["shards", "index", server.url, *options]) == 0
    assert "14 samples in 4 shards" in capsys.readouterr().out
    assert run(["shards", "info", server.url, *options]) == 0
    shown = capsys.readouterr().out
    assert "14 (0 to 7 a shard)" in shown
    assert "14 .cls, 0 .json" in shown
    assert not list(tmp_path.glob("cache/shards/*/*.tar"))
    assert run(["shards", "verify", server.url, *options, "--num-workers=1"]) == 2
    told = capsys.readouterr()
    assert f"{server.url}/{THIRD}: s0003: " in told.out
    assert "14 of 14 samples in http" in told.err
    server.faults["train-000000.tar"] = [404]
    shutil.rmtree(tmp_path / "cache" / "shards")
    assert run(["shards", "verify", server.url, *options, "--num-workers=1"]) == 1
    assert "train-000000.tar does not exist" in capsys.readouterr().err


def test_s3_gives_the_same_set_and_the_same_bytes_in_spite_of_faults(folder, tmp_path, monkeypatch):
    import boto3

    add_hashes(folder)
    expected = contents(open_shards(str(folder)))
    with serving_s3(monkeypatch) as faults:
        client = boto3.client("s3")
        client.create_bucket(Bucket="images")
        for path in folder.iterdir():
            client.upload_file(str(path), "images", f"set/{path.name}")
        for name in ("train-000000.tar", THIRD, "index.json"):
            faults[name] += [500, ("cut", 100)]
        for pattern in ("set/", "set/train-{000000..000003}.tar", "set/*-00000?.tar"):
            shards = remote_set(f"s3://images/{pattern}", cache_in(tmp_path / "cache"))
            assert shards.fingerprint() == open_shards(str(folder)).fingerprint()
            assert contents(shards) == expected
        assert not any(faults.values())
        client.upload_file(str(folder / "train-000000.tar"), "images", f"set/{THIRD}")
        shards = remote_set("s3://images/set/", cache_in(tmp_path / "new"))
        with pytest.raises(ShardError, match=rf"^s3://images/set/{THIRD} changed since"):
            ShardReader(shards).read(2, 0)
        with pytest.raises(ShardError, match=r"matches no tar"):
            remote_set("s3://images/other/", cache_in(tmp_path / "new"))
        with pytest.raises(RemoteError, match=r"set/x\.tar does not exist"):
            remote_set("s3://images/set/x.tar", cache_in(tmp_path / "new"))
        client.close()
