import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards import local
from ssl_swin.data.shards.index_file import Indexes, check_rows
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.local import PATIENCE, LocalFiles, LocalShards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.data.shards.user_cache import cache_folder
from ssl_swin.errors import ShardError
from tests.data.shards.tars import samples, write_tar


@pytest.fixture
def stumbling(monkeypatch):
    """Errors that the next calls of `os.pread` and `os.open` end with, and the files opened."""
    errors, opened = {"pread": [], "open": []}, []

    def failing(name):
        really = getattr(os, name)

        def call(*args, **options):
            if name == "open":
                opened.append(args[0])
            if errors[name]:
                raise OSError(errors[name].pop(0), "storage")
            return really(*args, **options)

        monkeypatch.setattr(os, name, call)

    failing("pread")
    failing("open")
    return errors, opened


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    return path


def patient(waits):
    return LocalFiles(2, Retry(4, 0.5, 1.0, sleep=waits.append))


@pytest.mark.parametrize("how", ["pread", "open"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_read_that_fails_is_tried_again_on_a_file_opened_anew(path, stumbling, how, error):
    (errors, opened), waits = stumbling, []
    errors[how] += [error, error]
    files = patient(waits)
    assert files.read(path, 10, 5) == bytes(range(10, 15))
    assert waits == [0.5, 1.0]
    assert opened == [path] * 3
    assert files.read(path, 0, 1) == b"\0"
    assert len(opened) == 3
    files.close()


def test_storage_that_keeps_failing_is_an_error_that_names_the_file(path, stumbling):
    (errors, _), waits = stumbling, []
    errors["pread"] += [errno.EIO] * 9
    with pytest.raises(OSError, match="storage") as error:
        patient(waits).read(path, 0, 1)
    assert (error.value.errno, error.value.filename) == (errno.EIO, str(path))
    assert waits == [0.5, 1.0, 1.0]


def test_what_does_not_pass_is_told_at_once(path, tmp_path, stumbling):
    (errors, _), waits = stumbling, []
    with pytest.raises(FileNotFoundError):
        patient(waits).read(tmp_path / "nothing", 0, 1)
    errors["pread"] += [errno.EACCES]
    with pytest.raises(PermissionError):
        patient(waits).read(path, 0, 1)
    assert not waits


def test_fewer_bytes_come_only_from_the_end(path):
    files = LocalFiles(1)
    assert files.read(path, 98, 10) == b"bc"
    assert files.read(path, 100, 10) == b""
    files.close()
    assert sum(min(4.0, 0.5 * 2**n) for n in range(PATIENCE.num_tries - 1)) < 10


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


def test_few_indexes_and_files_stay_open(folder):
    shards = open_shards(str(folder))
    few = {"files": LocalFiles(2), "indexes": Indexes(2)}
    storage = LocalShards(shards.storage.paths, shards.storage.entries, **few)
    reader = ShardReader(ShardSet(storage))
    before = len(os.listdir("/proc/self/fd"))
    for shard in (0, 2, 3, 0, 2, 3):
        reader.read(shard, 0)
    assert len(os.listdir("/proc/self/fd")) == before + 2 + 2
    storage.close()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert reader.read(3, 0)


def test_shards_that_are_read_in_turns_are_opened_and_checked_once(folder, monkeypatch):
    checked = []

    def count(where, table):
        checked.append(where)
        check_rows(where, table)

    monkeypatch.setattr(local, "check_rows", count)
    shards = open_shards(str(folder))
    storage = LocalShards(shards.storage.paths, shards.storage.entries)
    storage.files.max_open = storage.indexes.max_mapped = 1
    assert storage.keep_open(2) == 64
    reader, before = ShardReader(ShardSet(storage)), len(os.listdir("/proc/self/fd"))
    for shard in (0, 2, 3) * 3:
        reader.read(shard, 0)
    assert len(os.listdir("/proc/self/fd")) == before + 3 + 3
    assert len(checked) == 3
    storage.indexes.max_mapped = 1
    for shard in (0, 2, 3) * 3:  # each index is mapped again, and not checked again
        reader.read(shard, 0)
    assert len(checked) == 3
    write_tar(folder / "train-000003.tar", [(name, data + b"!") for name, data in samples(4)])
    storage.rows(2)
    with pytest.raises(ShardError, match="changed since it was indexed"):
        storage.rows(3)


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
        kept = ["a.tar.index.npy", "a.tar.labels", "index.json"]
        assert sorted(os.listdir(cache_folder(place, cache))) == kept
        assert again.describe() == shards.describe()
        assert ShardReader(again).label(0, 2) == 2
