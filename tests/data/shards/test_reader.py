import gc
import itertools
import os
import pickle
import warnings
import weakref

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards import reader as shard_reader
from ssl_swin.data.shards.local import LocalFiles, LocalShards
from ssl_swin.data.shards.reader import ShardReader, better_whole, content_of
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import FORMATS, write_tar

MEMBERS = {"x.jpg": b"pixels", "x.cls": b" 3\n", "x.json": b'{"label": 4, "kind": 5}'}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("order", list(itertools.permutations(MEMBERS)))
def test_members_of_a_sample_are_found_in_any_order(tmp_path, order, format):
    around = [("w.png", b"before")], [("y.PNG", b"after"), ("y.json", b'{"kind": 7}')]
    middle = [(name, MEMBERS[name]) for name in order]
    path = write_tar(tmp_path / "a.tar", [*around[0], *middle, *around[1]], format)
    reader = ShardReader(open_shards(str(path)))
    assert [reader.read(0, row) for row in range(3)] == [b"before", b"pixels", b"after"]
    assert [reader.key(0, row) for row in range(3)] == ["w", "x", "y"]
    assert (reader.label(0, 1), reader.label(0, 2, field="kind")) == (3, 7)


def test_every_sample_of_a_set_is_read_back_by_its_id(folder):
    shards = open_shards(str(folder))
    few = LocalShards(shards.storage.paths, shards.storage.entries, files=LocalFiles(1))
    reader = ShardReader(ShardSet(few))
    places = zip(*shards.locate(np.arange(9)), strict=True)
    read = [(reader.read(s, r), reader.label(s, r)) for s, r in places]
    assert read == [(b"image %d" % i * (1 + i % 3), i % 10) for i in range(9)]
    assert shards.counts.tolist() == [3, 0, 5, 1]
    assert shards.bytes.tolist() == [path.stat().st_size for path in shards.storage.paths]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, r"neither a \.cls nor a \.json"),
        (("cls", b"cat"), r"\.cls b'cat'"),
        (("cls", b"-1"), r"\.cls b'-1'"),
        (("json", b"{}"), r"field 'label' of its \.json, b'\{\}'"),
        (("json", b"[1]"), r"field 'label' of its \.json, b'\[1\]'"),
        (("json", b'{"label": 1.0}'), r"field 'label' of its \.json, b'\{\"label\": 1\.0\}'"),
        (("json", b'{"label": true}'), r"field 'label' of its \.json, b'\{\"label\": true\}'"),
        (("json", b"\xff"), r"field 'label' of its \.json, b'\\xff'"),
        (("json", b"[" * 10_000), r"field 'label' of its \.json, b'\[{60}'"),
        (("cls", b"4294967296"), r"\.cls b'4294967296'"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_key(tmp_path, label, message):
    members = [("a/x.png", b"")] + ([(f"a/x.{label[0]}", label[1])] if label else [])
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ShardError, match=rf"sample 'a/x' of .*a\.tar .*{message}"):
        ShardReader(open_shards(str(path))).label(0, 0)


def test_a_reader_goes_on_in_another_process(folder):
    reader = ShardReader(open_shards(str(folder)))
    expected = reader.read(2, 4)
    pickled = pickle.dumps(reader)
    assert len(pickled) < 3000
    assert pickle.loads(pickled).read(2, 4) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads when they fork
        child = os.fork()
    if not child:
        same = reader.read(2, 4) == expected
        os._exit(0 if same and reader.storage.files._pid == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert reader.read(2, 4) == expected


def test_a_set_in_another_order_has_another_content(tmp_path):
    """Though names, counts and sizes are the same, of tars and of images."""
    found = []
    for name, order in (("a", "xyz"), ("b", "yxz"), ("copy", "xyz")):
        members = [(f"{key}.png", key.encode() * 9) for key in order]
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "s.tar", members)
        found.append(open_shards(str(tmp_path / name)))
    one, other, copy = found
    assert one.fingerprint() == other.fingerprint()
    assert content_of(one) != content_of(other)
    assert content_of(one) == content_of(copy)


def test_images_of_other_lengths_that_are_not_looked_at_make_another_content(tmp_path):
    found = []
    for name, lengths in (("a", (5, 6)), ("b", (6, 5))):
        members = [
            (f"{n:03}.png", b"x" * lengths[n - 31] if n in (31, 32) else b"y") for n in range(90)
        ]
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "s.tar", members)
        found.append(open_shards(str(tmp_path / name)))
    assert found[0].fingerprint() == found[1].fingerprint()
    assert content_of(found[0]) != content_of(found[1])


def test_a_set_whose_content_is_known_is_let_go_of(folder):
    shards = open_shards(str(folder))
    assert content_of(shards) == content_of(shards)
    there = weakref.ref(shards)
    del shards
    gc.collect()
    assert there() is None


def test_pieces_of_many_samples_from_afar_are_worse_than_whole_tars(folder, tmp_path, monkeypatch):
    assert not better_whole(open_shards(folder))
    with serving(folder) as server:
        far = remote_set(server.url, cache_in(tmp_path / "cache"))
        assert not better_whole(far)
        monkeypatch.setattr(shard_reader, "_MOST_PIECES", far.num_samples - 1)
        assert better_whole(far)
        assert not better_whole(open_shards(folder))
