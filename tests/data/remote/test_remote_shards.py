import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssl_swin.__main__ import _told_by_worker, run
from ssl_swin.data.batches.batch import collate
from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.order.one_set import SetOrder
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.data.remote.remote_shards import index_remote
from ssl_swin.data.shards.indexing import index_shards, write_manifest
from ssl_swin.data.shards.layout import MANIFEST_NAME, Entry, load_manifest, sha256_of
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.shard_set import ShardReader, ShardSet
from ssl_swin.errors import RemoteError, ShardError
from tests.data.remote.faulty import cache_in, serving, serving_s3
from tests.data.shards.tars import samples, write_tar

COUNTS = (3, 0, 5, 4)
THIRD = "train-000002.tar"


@pytest.fixture
def folder(tmp_path):
    folder, first = tmp_path / "there", 0
    folder.mkdir()
    for place, count in enumerate(COUNTS):
        write_tar(folder / f"train-{place:06d}.tar", samples(count, first))
        first += count
    index_shards(sorted(folder.glob("*.tar")))
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


def add_hashes(folder):
    """What `shards create` writes."""
    entries = load_manifest(folder)
    hashes = {name: sha256_of(folder / name) for name in entries}
    write_manifest(folder, {name: Entry(*entries[name][:2], hashes[name]) for name in entries})


def contents(shards, **options):
    """Bytes, label and key of every sample."""
    reader = ShardReader(shards, **options)
    places = zip(*shards.locate(np.arange(shards.num_samples)), strict=True)
    return [(reader.read(s, r), reader.label(s, r), reader.key(s, r)) for s, r in places]


def open_at(server, tmp_path, pattern="/", **options):
    return ShardSet.open(server.url + pattern, cache=cache_in(tmp_path / "cache"), **options)


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
    here = ShardSet.open(str(folder / local))
    there = open_at(server, tmp_path, pattern)
    assert there.describe() == here.describe()
    assert contents(there) == contents(here)
    root = there.remote.cache.root
    assert all(path.parent.parent == root for path in there.paths)


@pytest.mark.parametrize("pattern", ["/nothing/", "/val-*.tar", "/train-000001.tar.index.npy"])
def test_a_pattern_without_a_tar_is_refused_in_one_line(server, tmp_path, pattern):
    with pytest.raises(RemoteError, match=r"^shards=http\S+ matches no tar; [^\n]*$"):
        open_at(server, tmp_path, pattern)


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
    here = ShardSet.open(str(folder))
    order = SetOrder(here.counts, 0, 4, 2, block_size=4)
    loader = partial(DataLoader, batch_sampler=Shares(order, 0, 1, 0, 7), collate_fn=collate)
    stream = partial(ImageStream, transform=TrainTransform(0, 28, (0.3, 1)), img_size=28)
    with serving(folder) as server:
        for path in here.paths:
            server.faults[path.name] = list(FAULTS[fault])
        there = open_at(server, tmp_path)
        streams = [stream(shards, in_chans=1, labels=Labels(10)) for shards in (here, there)]
        expected = list(loader(streams[0]))
        for workers in (2, 0):
            batches = list(loader(streams[1], num_workers=workers))
            assert len(batches) == len(expected) == 7
            for batch, other in zip(batches, expected, strict=True):
                assert all(torch.equal(batch[name], other[name]) for name in other)


def test_a_broken_download_goes_on_where_it_broke(folder, server, tmp_path):
    big = write_tar(folder / "big.tar", [(f"{place}.png", b"x" * 4 * 10**6) for place in range(4)])
    index_shards([big])
    server.faults["big.tar"] = [("cut", 8 * 10**6), ("cut", 4 * 10**6), None]
    shards = open_at(server, tmp_path, "/big.tar")
    ShardReader(shards).read(0, 0)
    assert server.gets["big.tar"] == 3
    assert server.sent["big.tar"] < shards.bytes[0] + 8 * 10**6  # aiohttp drops what it buffers
    assert shards.paths[0].read_bytes() == big.read_bytes()


def test_a_server_without_ranges_is_read_from_the_start(folder, tmp_path):
    with serving(folder, ranges=False) as server:
        server.faults[THIRD] = [("cut", 1000), None]
        shards = open_at(server, tmp_path)
        assert contents(shards) == contents(ShardSet.open(str(folder)))
        assert server.sent[THIRD] == 1000 + shards.bytes[2]


def other_tar(tmp_path, num):
    return write_tar(tmp_path / "other.tar", samples(num, first=100)).read_bytes()


def test_a_shard_that_is_replaced_while_it_comes_is_not_mixed(folder, server, tmp_path):
    path, num = folder / "big.tar", 8 * 10**6
    new, whole = (
        write_tar(path, [(f"{place}.png", pixel * 4 * 10**6) for place in range(4)]).read_bytes()
        for pixel in (b"n", b"w")
    )
    index_shards([path])
    server.faults["big.tar"] = [("replace", num, new), ("replace", num, whole), None]
    shards = open_at(server, tmp_path, "/big.tar")
    ShardReader(shards).read(0, 3)
    assert server.gets["big.tar"] == 3
    assert shards.paths[0].read_bytes() == whole


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
    assert not list(shards.paths[2].parent.glob(".train*"))
    assert ShardReader(shards).read(3, 0)


def test_a_hash_finds_what_size_and_headers_do_not(folder, server, tmp_path):
    content = bytearray((folder / THIRD).read_bytes())
    shards = open_at(server, tmp_path)
    content[int(shards.rows(2)[2]["offset"])] ^= 1
    add_hashes(folder)
    shards = open_at(server, tmp_path)
    (folder / THIRD).write_bytes(content)
    with pytest.raises(ShardError, match=r"\(sha256 \w{12} then, \w{12} now\)"):
        ShardReader(shards).read(2, 0)


def test_a_tar_in_the_cache_that_is_of_an_older_index_is_fetched_again(folder, server, tmp_path):
    shards = open_at(server, tmp_path)
    before = contents(shards)
    shards.paths[2].write_bytes(other_tar(tmp_path, 5))  # of the same size
    assert contents(open_at(server, tmp_path)) == before
    (folder / THIRD).write_bytes(other_tar(tmp_path, 6))
    index_shards([folder / THIRD])
    assert contents(open_at(server, tmp_path)) == contents(ShardSet.open(str(folder)))
    assert server.gets[THIRD] == 3


@pytest.mark.parametrize(
    ("fault", "tries", "message"),
    [
        (500, 5, "after 5 tries in a row: the server answers 500"),
        (("cut", 0), 5, "after 5 tries in a row: "),
        (("stall", 0), 5, "after 5 tries in a row: nothing came for too long"),
        (404, 0, f"{THIRD} does not exist"),
        (403, 0, f"{THIRD} may not be read; give credentials .* in the environment"),
        (400, 1, "after 1 try: the server answers 400"),
    ],
)
def test_what_is_final_is_said_after_few_tries(server, tmp_path, fault, tries, message):
    waits = []
    retry = Retry(5, 1.0, 3.0, 0.2, sleep=waits.append)
    cache = cache_in(tmp_path / "cache", retry=retry)
    shards = ShardSet.open(f"{server.url}/train-{{000000..000003}}.tar?key=secret", cache=cache)
    shards.rows(2)
    server.faults[THIRD] = [fault]
    with pytest.raises(RemoteError, match=message) as error:
        ShardReader(shards).read(2, 0)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert waits == ([1.0, 2.0, 3.0, 3.0] if tries == 5 else [])
    assert server.gets[THIRD] in (tries, tries + 1)  # fsspec asks by GET where HEAD is refused


def test_an_outage_of_two_minutes_is_waited_for(server, tmp_path):
    waits = []
    cache = cache_in(tmp_path / "cache", retry=Retry(sleep=waits.append))
    shards = ShardSet.open(server.url, cache=cache)
    server.faults[THIRD] = [503] * 9 + [None]
    assert ShardReader(shards).read(2, 0)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert sum(waits) > 120


def test_a_loader_worker_says_it_in_one_line(server, tmp_path):
    shards = open_at(server, tmp_path)
    server.faults[THIRD] = [404]
    stream = ImageStream(shards, TrainTransform(0, 28, (0.3, 1)), 28, 3)
    order = SetOrder(shards.counts, 0, 12, 1)
    loader = DataLoader(stream, batch_sampler=Shares(order, 0, 1, 0, 1), num_workers=1)
    server.faults["train-000000.tar"] = server.faults["train-000003.tar"] = [404]
    with pytest.raises(ShardError) as error:
        list(loader)
    line = _told_by_worker(str(error.value))
    assert line.startswith(f"{server.url}/train-00000")
    assert line.endswith(".tar does not exist")


@pytest.mark.parametrize("ask", [ShardSet.open, partial(index_remote, num_workers=1)])
def test_urls_that_differ_only_in_their_query_are_refused(server, tmp_path, ask):
    pattern = f"{server.url}/train-00000{{0..2}}.tar?version={{1,2secret}}"
    message = rf"the shards 1 and 2 that {server.url}\S+ names are both "
    with pytest.raises(ShardError, match=message) as error:
        ask(pattern, cache_dir=tmp_path)
    assert f"both {server.url}/train-000000.tar, " in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_known_of_a_shard_does_not_grow_with_each_download(server, tmp_path):
    shards = open_at(server, tmp_path)
    for turn in range(5):
        contents(shards)
        for shard in (0, 2, 3):
            assert shards.remote._checked[shard] == shards.paths[shard].stat().st_ino
            shards.paths[shard].rename(tmp_path / f"{shard}-{turn}")  # its inode stays taken
    assert len(shards.remote._checked) == 3
    assert server.gets[THIRD] == 5


def test_what_lies_there_without_an_index_is_indexed_from_afar(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    big = [(f"x{place}.png", b"%d" % place * 10**6) for place in range(4)]
    write_tar(folder / "a.tar", big)
    with serving(folder) as server:
        server.faults["a.tar"] = [500, None]
        with pytest.raises(ShardError, match=r"1 of 1 shards have no index.*a\.tar; run: ssl-swin"):
            open_at(server, tmp_path, index_missing=False)
        shards = open_at(server, tmp_path)
        assert shards.counts.tolist() == [4]
        assert server.sent["a.tar"] < 0.4 * shards.bytes[0]
        reader = ShardReader(shards, whole=False)
        assert reader.read(0, 3) == b"3" * 10**6
        assert not shards.paths[0].exists()
        assert ShardReader(shards).read(0, 3) == b"3" * 10**6
        gets = server.gets["a.tar"]
        again = open_at(server, tmp_path, index_missing=False)
        assert again.describe() == shards.describe()
        assert server.gets["a.tar"] == gets
    assert sorted(path.name for path in folder.iterdir()) == ["a.tar"]


def test_index_files_without_a_manifest_are_taken(folder, server, tmp_path):
    expected = ShardSet.open(str(folder)).describe()
    (folder / MANIFEST_NAME).unlink()
    assert open_at(server, tmp_path, index_missing=False).describe() == expected
    assert not server.sent[THIRD]


def test_a_missing_or_damaged_remote_shard_is_named(folder, tmp_path):
    (folder / MANIFEST_NAME).unlink()
    for path in folder.glob(f"{THIRD}*"):
        path.unlink()
    with serving(folder) as server:
        with pytest.raises(RemoteError, match=rf"{THIRD} does not exist"):
            open_at(server, tmp_path, "/train-{000000..000003}.tar")
        (folder / THIRD).write_bytes(b"x" * 2048)
        with pytest.raises(ShardError, match=rf"^http://\S+{THIRD} is cut off or damaged"):
            open_at(server, tmp_path, "/train-{000000..000003}.tar")


def test_damaged_remote_manifests_and_indexes_are_refused(folder, server, tmp_path):
    (folder / f"{THIRD}.index.npy").write_bytes((folder / f"{THIRD}.index.npy").read_bytes()[:-48])
    for _ in range(2):
        with pytest.raises(ShardError, match=r"its index and the set's index\.json differ"):
            open_at(server, tmp_path).rows(2)
        shutil.copy(folder / "train-000000.tar.index.npy", folder / f"{THIRD}.index.npy")
    (folder / f"{THIRD}.index.npy").unlink()
    with pytest.raises(ShardError, match=rf"{THIRD} has no index; run: ssl-swin shards index http"):
        open_at(server, tmp_path).rows(2)
    (folder / f"{THIRD}.index.npy").write_bytes(b"nothing")
    (folder / MANIFEST_NAME).write_text("{")
    with pytest.raises(ShardError, match=r"^http\S+index\.json is not a manifest"):
        open_at(server, tmp_path)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ShardError, match=r"^http\S+index\.npy is damaged"):
        open_at(server, tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nonsense://a/b.tar", "nonsense://a/.*Protocol not known"),
        ("http://127.0.0.1:9/a.tar", "http://127.0.0.1:9/.* after 5 tries in a row: "),
    ],
)
def test_places_that_cannot_be_reached_are_named(tmp_path, pattern, message):
    with pytest.raises(RemoteError, match=f"^{message}"):
        ShardSet.open(pattern, cache=cache_in(tmp_path))


def test_the_commands_take_urls(folder, server, tmp_path, capsys):
    (folder / MANIFEST_NAME).unlink()
    write_tar(folder / THIRD, samples(7))
    (folder / f"{THIRD}.index.npy").unlink()
    options = [f"--cache_dir={tmp_path / 'cache'}"]
    assert run(["shards", "index", server.url, *options]) == 0
    assert "14 samples in 4 shards" in capsys.readouterr().out
    assert run(["shards", "info", server.url, *options]) == 0
    shown = capsys.readouterr().out
    assert "14 (0 to 7 a shard)" in shown
    assert "14 .cls, 0 .json" in shown
    assert not list(tmp_path.glob("cache/shards/*/*.tar"))
    assert run(["shards", "verify", server.url, *options, "--num_workers=1"]) == 2
    told = capsys.readouterr()
    assert f"{server.url}/{THIRD}: s0003: " in told.out
    assert "14 of 14 samples in http" in told.err
    server.faults["train-000000.tar"] = [404]
    shutil.rmtree(tmp_path / "cache" / "shards")
    assert run(["shards", "verify", server.url, *options, "--num_workers=1"]) == 2
    assert "train-000000.tar does not exist" in capsys.readouterr().err


def test_s3_gives_the_same_set_and_the_same_bytes_in_spite_of_faults(folder, tmp_path, monkeypatch):
    import boto3

    add_hashes(folder)
    expected = contents(ShardSet.open(str(folder)))
    with serving_s3(monkeypatch) as faults:
        client = boto3.client("s3")
        client.create_bucket(Bucket="images")
        for path in folder.iterdir():
            client.upload_file(str(path), "images", f"set/{path.name}")
        for name in ("train-000000.tar", THIRD, "index.json"):
            faults[name] += [500, ("cut", 100)]
        for pattern in ("set/", "set/train-{000000..000003}.tar", "set/*-00000?.tar"):
            shards = ShardSet.open(f"s3://images/{pattern}", cache=cache_in(tmp_path / "cache"))
            assert shards.fingerprint() == ShardSet.open(str(folder)).fingerprint()
            assert contents(shards) == expected
        assert not any(faults.values())
        client.upload_file(str(folder / "train-000000.tar"), "images", f"set/{THIRD}")
        shards = ShardSet.open("s3://images/set/", cache=cache_in(tmp_path / "new"))
        with pytest.raises(ShardError, match=rf"^s3://images/set/{THIRD} changed since"):
            ShardReader(shards).read(2, 0)
        with pytest.raises(RemoteError, match=r"matches no tar"):
            ShardSet.open("s3://images/other/", cache=cache_in(tmp_path / "new"))
        with pytest.raises(RemoteError, match=r"set/x\.tar does not exist"):
            ShardSet.open("s3://images/set/x.tar", cache=cache_in(tmp_path / "new"))
        client.close()


def test_hashes_are_in_the_manifest_and_may_be_missing(folder):
    add_hashes(folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    assert [len(entry) for entry in manifest["shards"].values()] == [3] * 4
    before = ShardSet.open(str(folder)).describe()
    index_shards([folder / THIRD])
    assert load_manifest(folder)[THIRD].sha256 is None
    assert ShardSet.open(str(folder)).describe() == before
