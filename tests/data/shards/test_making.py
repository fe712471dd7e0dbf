import errno
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from ssl_swin.data.open import index_anew, open_shards
from ssl_swin.data.shards import making, one_maker
from ssl_swin.data.shards.making import INDEX_LOCK
from tests.data.shards.makers import Makers
from tests.data.shards.tars import numbered_tars

NUM = 6


def test_of_four_processes_one_reads_the_headers_once(tmp_path):
    folder = numbered_tars(tmp_path / "set", [3] * NUM)
    makers = Makers(folder, 4, tmp_path / "log")
    found = makers.all_together()
    assert sorted(makers.scanned()) == [str(path) for path in sorted(folder.glob("*.tar"))]
    assert found == [found[0]] * 4  # the same index, and the same files
    assert found[0][1] == {p.name: os.stat(f"{p}.index.npy").st_ino for p in folder.glob("*.tar")}
    assert not list(folder.glob(".*"))


def test_when_the_maker_is_killed_another_one_goes_on(tmp_path):
    folder = numbered_tars(tmp_path / "set", [3] * NUM)
    makers = Makers(folder, 3, tmp_path / "log")
    first = makers.start(stop_after=2)
    makers.gate.set()
    while len(makers.scanned()) < 4 or len(list(folder.glob("*.npy"))) < 2:  # both threads are in
        assert first.is_alive()
        time.sleep(0.01)
    done = {path: path.stat().st_ino for path in folder.glob("*.index.npy")}
    assert (folder / INDEX_LOCK).exists()
    others = [makers.start() for _ in range(3)]
    os.kill(first.pid, signal.SIGKILL)
    found = [makers.results.get(timeout=60) for _ in others]
    for process in (first, *others):
        process.join(60)
    assert found == [found[0]] * 3
    assert {path: path.stat().st_ino for path in done} == done
    assert len(makers.scanned()) == NUM + 2  # the two that it was in are read again
    assert not (folder / INDEX_LOCK).exists()
    folder = numbered_tars(tmp_path / "again", [3] * NUM)
    assert open_shards(str(folder)).fingerprint() == found[0][0]


def test_without_locks_the_work_is_shared_and_no_index_is_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    folder = numbered_tars(tmp_path / "set", [3] * NUM)
    monkeypatch.setattr(one_maker.fcntl, "flock", refuse)
    real = making.index_shard
    seen = []

    def others_are_faster(tar, path, labels):
        found = real(tar, path, labels)
        there = tar.with_name(f"{tar.name}.index.npy")
        if not seen:
            there.write_bytes(path.read_bytes())
            seen.append((there, there.stat().st_ino))
        return found

    monkeypatch.setattr(making, "index_shard", others_are_faster)
    shards = open_shards(str(folder), num_workers=1)
    assert shards.counts.tolist() == [3] * NUM
    ((there, inode),) = seen
    assert there.stat().st_ino == inode
    assert not list(folder.glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_of_a_folder_that_cannot_be_written_to_lock_and_indexes_are_in_the_cache():
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        folder, cache = numbered_tars(Path(root, "set"), [3] * 2), Path(root, "cache")
        os.chmod(folder, 0o555)
        cache.mkdir()
        os.chmod(cache, 0o777)
        os.seteuid(65534)
        try:
            with making.making(folder, [], cache) as alone:
                assert alone
                assert [path.name for path in cache.glob("*/.*")] == [INDEX_LOCK]
            for _ in range(2):
                (found, other), _ = index_anew(str(folder), 2, cache)
                assert found.path.parent == other.path.parent == next(cache.iterdir())
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
@pytest.mark.parametrize("make", ["open", "anew"])
def test_an_index_that_nobody_else_may_replace_is_made_again_in_the_cache(make):
    with tempfile.TemporaryDirectory() as root:
        folder, cache = numbered_tars(Path(root, "set"), [3] * 2), Path(root, "cache")
        open_shards(str(folder))
        for path in (root, folder, cache):
            Path(path).mkdir(exist_ok=True)
            os.chmod(path, 0o1777)
        for path in (*folder.glob("*.npy"), folder / "index.json"):
            path.chmod(0o600)
        os.seteuid(65534)
        try:
            if make == "anew":
                index_anew(str(folder), 2, cache)
            assert open_shards(str(folder), cache).num_samples == 6
            assert len([*cache.glob("*/*.npy")]) == 2
        finally:
            os.seteuid(0)


def test_indexing_anew_waits_for_others_and_replaces(tmp_path):
    folder = numbered_tars(tmp_path, [3] * 2)
    open_shards(str(folder))
    before = {path: path.stat().st_ino for path in folder.glob("*.npy")}
    assert [one.num_samples for one in index_anew(str(folder), 2, None)[0]] == [3, 3]
    assert all(path.stat().st_ino != inode for path, inode in before.items())
