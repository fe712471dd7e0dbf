import itertools
import os
import pickle
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.index_file import MappedIndexes
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.local import LocalFiles, LocalShards
from ssl_swin.data.shards.manifest import MANIFEST_NAME
from ssl_swin.data.shards.names import cache_folder, expand
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from tests.data.shards.tars import FORMATS, plain_set, samples, write_tar

COUNTS = (3, 0, 5, 1)


@pytest.fixture
def folder(tmp_path):
    first = 0
    for place, count in enumerate(COUNTS):
        write_tar(tmp_path / f"train-{place:06d}.tar", samples(count, first))
        first += count
    return tmp_path


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


@pytest.mark.parametrize("num_shards", [1, 2, 7])
@pytest.mark.parametrize("empty", [False, True])
def test_locate_counts_every_sample_once_in_order(num_shards, empty):
    counts = np.arange(num_shards) % 3 + (0 if empty else 1)
    counts[-1] += 1
    shards = plain_set(counts, counts * 100)
    shard, row = shards.locate(np.arange(shards.num_samples).reshape(-1, 1))
    expected = [(s, r) for s, count in enumerate(counts) for r in range(count)]
    assert list(zip(shard.ravel(), row.ravel(), strict=True)) == expected
    for outside in (-1, shards.num_samples):
        with pytest.raises(ValueError, match=f"allowed are 0 to {shards.num_samples - 1}"):
            shards.locate(np.array([0, outside]))


def test_every_sample_of_a_set_is_read_back_by_its_id(folder):
    shards = open_shards(str(folder))
    few = LocalShards(shards.storage.paths, shards.storage.entries, files=LocalFiles(1))
    reader = ShardReader(ShardSet(few))
    places = zip(*shards.locate(np.arange(9)), strict=True)
    read = [(reader.read(s, r), reader.label(s, r)) for s, r in places]
    assert read == [(b"image %d" % i * (1 + i % 3), i % 10) for i in range(9)]
    assert shards.counts.tolist() == list(COUNTS)
    assert shards.bytes.tolist() == [path.stat().st_size for path in shards.storage.paths]


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("", (0, 1, 2, 3)),
        ("train-000002.tar", (2,)),
        ("train-{000001..000003}.tar", (1, 2, 3)),
        ("train-00000{3..1}.tar", (3, 2, 1)),
        ("{train-000003,train-000000}.tar", (3, 0)),
        ("tr{ain-0000,ain-0000}0{1..2}.tar", (1, 2)),
        ("*-00000[02].tar", (0, 2)),
        ("{.,../{name}}/train-000001.tar", (1, 1)),
    ],
)
def test_patterns_name_shards_in_their_own_order(folder, pattern, places):
    pattern = pattern.replace("{name}", folder.name)
    found = [path.resolve() for path in expand(os.path.join(folder, pattern))]
    assert found == [folder / f"train-{place:06d}.tar" for place in places]


def test_a_tar_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    path = write_tar(tmp_path / "a[0]{1,2}.tar", samples(1))
    assert expand(str(path)) == [path]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train-{000002..000009}.tar", r"6 of the 8 shards .* first is .*train-000004\.tar"),
        ("val-*.tar", "matches no tar"),
        ("val.tar", "matches no tar"),
        ("empty", "matches no tar"),
    ],
)
def test_shards_that_are_not_there_are_named(folder, pattern, message):
    (folder / "empty").mkdir()
    with pytest.raises(ShardError, match=message):
        expand(str(folder / pattern))


def test_a_set_with_a_manifest_opens_without_its_index_files(folder):
    recorded = open_shards(str(folder)).describe()
    for index in folder.glob("*.index.npy"):
        index.unlink()
    shards = open_shards(str(folder), index_missing=False)
    assert shards.describe() == recorded
    with pytest.raises(ShardError, match=r"there is no index .*run: ssl-swin shards index"):
        shards.storage.rows(0)


def test_a_set_without_a_manifest_reads_the_index_files(folder):
    recorded = open_shards(str(folder)).describe()
    (folder / MANIFEST_NAME).unlink()
    assert open_shards(str(folder), index_missing=False).describe() == recorded


def test_a_missing_index_may_be_refused(folder):
    with pytest.raises(ShardError, match="4 of 4 shards have no index"):
        open_shards(str(folder), index_missing=False)
    assert not list(folder.glob("*.npy"))


@pytest.mark.parametrize("when", ["before it opens", "after"])
def test_a_tar_that_changed_since_it_was_indexed_is_refused(folder, when):
    shards = open_shards(str(folder))
    write_tar(folder / "train-000002.tar", samples(50))
    with pytest.raises(ShardError, match=r"train-000002.tar changed .*ssl-swin shards index"):
        (open_shards(str(folder)) if when.startswith("before") else shards).storage.rows(2)
    index_shards([folder / "train-000002.tar"])
    assert open_shards(str(folder)).storage.rows(2).shape == (50,)


def test_a_tar_of_the_same_size_with_other_content_is_refused(folder):
    shards = open_shards(str(folder))
    changed = [(name, data + b"!") for name, data in samples(5)]
    size = write_tar(folder / "train-000002.tar", changed).stat().st_size
    assert size == shards.bytes[2]
    with pytest.raises(ShardError, match=r"changed since .* \(7 bytes at 512 then, 8 now\)"):
        shards.storage.rows(2)


def test_an_index_that_contradicts_the_manifest_is_refused(folder):
    shards = open_shards(str(folder))
    shutil.copy(folder / "train-000000.tar", folder / "train-000003.tar")
    index_shards([folder / "train-000003.tar"])
    with pytest.raises(ShardError, match=r"its index and the set's index\.json differ"):
        shards.storage.rows(3)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY"])
def test_a_damaged_index_is_refused_in_words(folder, content):
    shards = open_shards(str(folder))
    (folder / "train-000000.tar.index.npy").write_bytes(content)
    with pytest.raises(ShardError, match=r"is damaged, or no index .*run: ssl-swin shards index"):
        shards.storage.rows(0)
    np.save(folder / "train-000000.tar.index.npy", np.zeros(4))
    with pytest.raises(ShardError, match="no index of this version"):
        shards.storage.rows(0)


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2, "shards": {}}', '{"format": 1}'])
def test_a_damaged_manifest_is_refused_in_words(folder, text):
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(ShardError, match=r"index\.json is not a manifest"):
        open_shards(str(folder))


def test_the_fingerprint_is_of_names_counts_and_sizes_not_of_the_place(folder):
    shards = open_shards(str(folder))
    copy = shutil.copytree(folder, folder / "copy", ignore=shutil.ignore_patterns("copy"))
    assert open_shards(str(copy)).fingerprint() == shards.fingerprint()
    os.rename(copy / "train-000003.tar", copy / "train-000004.tar")
    renamed = open_shards(str(copy))
    assert renamed.fingerprint() != shards.fingerprint()
    write_tar(copy / "train-000005.tar", samples(2))
    assert open_shards(str(copy)).describe()["num_shards"] == 5


def test_few_indexes_and_files_stay_open(folder):
    shards = open_shards(str(folder))
    few = {"files": LocalFiles(2), "indexes": MappedIndexes(2)}
    storage = LocalShards(shards.storage.paths, shards.storage.entries, **few)
    reader = ShardReader(ShardSet(storage))
    before = len(os.listdir("/proc/self/fd"))
    for shard in (0, 2, 3, 0, 2, 3):
        reader.read(shard, 0)
    assert len(os.listdir("/proc/self/fd")) == before + 2 + 2
    storage.close()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert reader.read(3, 0)


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


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, r"neither a \.cls nor a \.json"),
        (("cls", b"cat"), r"\.cls: ValueError"),
        (("cls", b"-1"), "the class is -1"),
        (("json", b"{}"), "field 'label' of its .json: KeyError"),
        (("json", b"[1]"), "field 'label' of its .json: TypeError"),
        (("json", b'{"label": 1.0}'), r"the class is 1\.0"),
        (("json", b'{"label": true}'), "the class is True"),
        (("json", b"\xff"), "field 'label' of its .json"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_key(tmp_path, label, message):
    members = [("a/x.png", b"")] + ([(f"a/x.{label[0]}", label[1])] if label else [])
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ShardError, match=rf"sample 'a/x' of .*a\.tar .*{message}"):
        ShardReader(open_shards(str(path))).label(0, 0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs Unix users")
def test_a_read_only_place_is_answered_with_a_cache_folder():
    with tempfile.TemporaryDirectory() as root:
        place, cache = Path(root, "place"), Path(root, "cache")
        place.mkdir()
        cache.mkdir()
        write_tar(place / "a.tar", samples(3))
        user = os.geteuid()
        for path, mode in ((root, 0o755), (place, 0o555), (cache, 0o777)):
            os.chmod(path, mode)
        try:
            if user == 0:  # root may write anywhere
                os.seteuid(65534)
            shards = open_shards(str(place), cache_dir=cache)
            again = open_shards(str(place), index_missing=False, cache_dir=cache)
        finally:
            os.seteuid(user)
            os.chmod(place, 0o755)
        assert os.listdir(place) == ["a.tar"]
        assert sorted(os.listdir(cache_folder(place, cache))) == ["a.tar.index.npy", "index.json"]
        assert again.describe() == shards.describe()
        assert ShardReader(again).label(0, 2) == 2
