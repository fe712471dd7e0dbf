import errno
import os

import pytest

from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.room import DiskFull, Room, release
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import cache_in, remote_set
from tests.data.remote.sets import disk_use, hold
from tests.data.shards.tars import indexed_tars

NUM = 6


@pytest.fixture
def folder(tmp_path):
    return indexed_tars(tmp_path / "there", [4] * NUM, "{}.tar")


def test_the_longest_unused_shard_goes_first_and_one_in_use_never(server, tmp_path, size):
    cache = cache_in(tmp_path, 3 * size)
    shards = remote_set(server.url, cache)
    files = {}
    for shard in range(3):
        files[shard] = hold(shards, shard)
        os.utime(shards.storage.paths[shard], (shard, shard))
    release(files.pop(1))
    release(files.pop(2))
    release(hold(shards, 3))  # in the place of 1, because 0 is held
    assert [path.exists() for path in shards.storage.paths] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    files |= {2: hold(shards, 2), 3: hold(shards, 3)}
    assert hold(shards, 4, wait=False) is None
    with pytest.raises(ShardError, match=r"no room for http\S+4\.tar .* is in use; raise data\.ca"):
        hold(shards, 4)
    assert cache.room.used_bytes() == disk_use(cache) == 3 * size
    assert not list(cache.room.root.glob("*/.4*"))
    release(files[0])
    release(hold(shards, 4))
    assert not shards.storage.paths[0].exists()


def test_what_killed_processes_left_is_evicted(server, tmp_path, size):
    shards = remote_set(server.url, cache_in(tmp_path, 2 * size))
    folder = shards.storage.paths[0].parent
    folder.mkdir(parents=True)
    (folder / ".gone.tar.partial").write_bytes(b"x" * 100)
    (folder / ".gone.tar.partial.plan").write_text(f"{2 * size} abc")
    assert shards.storage.cache.room.used_bytes() == 2 * size
    release(hold(shards, 0))
    assert not list(folder.glob(".gone*"))


@pytest.mark.parametrize("content", [b"", b"\0" * 30, b"12", b"x y", b"\xff\xfe 3"])
def test_a_reservation_damaged_by_a_power_failure_counts_as_nothing(
    server, tmp_path, size, content
):
    shards = remote_set(server.url, cache_in(tmp_path, 2 * size))
    folder = shards.storage.paths[0].parent
    folder.mkdir(parents=True)
    for name in ("0", "gone"):
        (folder / f".{name}.tar.partial").write_bytes(b"x" * 100)
        (folder / f".{name}.tar.partial.plan").write_bytes(content)
    assert ShardCache.open(tmp_path).room.used_bytes() == 200
    release(hold(shards, 0))
    assert server.sent["0.tar"] == size
    release(hold(shards, 1))
    assert not list(folder.glob(".gone*"))


@pytest.mark.parametrize("indexed", [True, False])
def test_a_disk_without_room_for_a_file_evicts_too(
    folder, server, tmp_path, size, small_disk, indexed
):
    if not indexed:  # then each tar's index is fetched, or made from its headers
        (folder / "index.json").unlink()
        (folder / "5.tar.index.npy").unlink()
    cache = cache_in(tmp_path, NUM * size)
    shards = remote_set(server.url, cache)
    small_disk["bytes"] = 2 * size  # full to the last byte
    for shard in range(NUM):
        release(hold(shards, shard))
        assert shards.storage.paths[shard].exists()
    assert disk_use(cache) == 2 * size
    for path in cache.room.root.glob("*/*.npy"):
        path.unlink()
    assert len(remote_set(server.url, cache).storage.rows(2)) == 4


def test_a_disk_without_room_for_a_reservation_evicts_too(server, tmp_path, size, small_disk):
    shards = remote_set(server.url, cache_in(tmp_path, NUM * size))
    small_disk["bytes"] = size + 100
    shards.storage.rows(1)
    release(hold(shards, 0))
    shards.storage.paths[1].with_name(".1.tar.partial").write_bytes(b"x" * 100)
    release(hold(shards, 1))
    assert [path.exists() for path in shards.storage.paths[:2]] == [False, True]


def test_a_full_disk_evicts_what_is_not_in_use(server, tmp_path, size, small_disk):
    small_disk["bytes"] = 2.5 * size
    shards = remote_set(server.url, cache_in(tmp_path, NUM * size))
    for shard in range(NUM):
        release(hold(shards, shard))
        assert shards.storage.paths[shard].exists()
    assert disk_use(shards.storage.cache) == 2 * size


def test_a_full_disk_with_nothing_to_evict_is_one_clear_error(server, tmp_path, size, small_disk):
    small_disk["bytes"] = 1.5 * size
    shards = remote_set(server.url, cache_in(tmp_path, NUM * size))
    file = hold(shards, 0)
    with pytest.raises(DiskFull, match=r"^the disk of \S+ is full, and .* data\.cache_gb"):
        hold(shards, 1)
    release(file)
    assert not list(shards.storage.paths[1].parent.glob(".1*"))
    release(hold(shards, 1))


def test_room_that_others_have_made_meanwhile_is_used(tmp_path):
    room, errors = Room(tmp_path / "shards", 10**6), [OSError(errno.ENOSPC, "full")]

    def write():
        if errors:
            raise errors.pop()
        return "written"

    assert room.with_room(write) == "written"  # although there was nothing to evict
    errors += [OSError(errno.ENOSPC, "full")] * 2
    with pytest.raises(DiskFull):
        room.with_room(write)
    assert not errors
