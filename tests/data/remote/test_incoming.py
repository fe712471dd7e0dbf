import errno
import fcntl
import os
import threading
import time

import pytest

from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.room import DiskFull, release
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import RemoteError
from tests.data.remote.faulty import QUICK, cache_in, remote_set
from tests.data.remote.sets import disk_use, forked, hold, remote_tar
from tests.data.shards.tars import indexed_tars, write_tar

NUM = 6


@pytest.fixture
def folder(tmp_path):
    return indexed_tars(tmp_path / "there", [4] * NUM, "{}.tar")


def test_a_download_of_a_killed_process_is_taken_over(server, folder, tmp_path):
    big = write_tar(folder / "big.tar", [(f"{place}.png", b"x" * 10**6) for place in range(4)])
    index_shards([big])
    server.faults["big.tar"] = [("stall", 3 * 10**6), None]
    retry = type(QUICK)(stalled_s=8)
    shards = remote_set(f"{server.url}/big.tar", cache_in(tmp_path, retry=retry))
    shards.storage.rows(0)
    child = forked(lambda: hold(shards, 0))
    while disk_use(shards.storage.cache) < 2.9 * 10**6:
        time.sleep(0.01)
    assert hold(shards, 0, wait=False) is None
    assert shards.storage.cache.room.used_bytes() == shards.bytes[0]  # its room is kept
    os.kill(child, 9)
    os.waitpid(child, 0)
    release(hold(shards, 0))
    assert shards.storage.paths[0].read_bytes() == big.read_bytes()
    assert server.sent["big.tar"] < shards.bytes[0] + 10**6


def test_a_download_of_a_process_that_hangs_is_waited_for_no_longer_than_for_room(server, tmp_path):
    retry = Retry(num_tries=3, first_wait_s=0.01, stalled_s=0.1)
    assert retry.patience_s == pytest.approx(0.33)
    assert 1800 > Retry().patience_s + ShardCache.room_wait_s > 600  # before a watchdog ends it
    shards = remote_set(server.url, cache_in(tmp_path, room_wait_s=0.5, retry=retry))
    partial = shards.storage.paths[0].with_name(".0.tar.partial")
    partial.parent.mkdir(parents=True)
    with partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def grow():
            for _ in range(4):  # longer in all than one may wait
                time.sleep(0.3)
                file.write(b"x")
                file.flush()

        growing, began = threading.Thread(target=grow), time.monotonic()
        growing.start()
        assert hold(shards, 0, wait=False) is None
        with pytest.raises(
            RemoteError, match=r"0\.tar\.partial has not grown for 0\.83 s, .* end "
        ):
            hold(shards, 0)
        growing.join()
        assert 1.2 + 0.83 < time.monotonic() - began < 10
    release(hold(shards, 0))


@pytest.mark.parametrize("name", ["0.tar", ".0.tar.partial"])
def test_links_in_the_cache_are_not_followed(server, tmp_path, size, name):
    wanted = remote_tar(server, tmp_path, size)
    wanted.path.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (wanted.path.parent / name).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links") as error:
        cache_in(tmp_path).get(wanted)
    assert error.value.errno == errno.ELOOP
    assert outside.read_bytes() == b"mine"


def test_what_had_come_before_the_disk_was_full_is_taken_up_again(
    folder, server, tmp_path, small_disk
):
    big = write_tar(folder / "big.tar", [(f"{place}.png", b"x" * 10**6) for place in range(4)])
    index_shards([big])
    small_disk["bytes"] = 3 * 10**6
    shards = remote_set(f"{server.url}/big.tar", cache_in(tmp_path))
    with pytest.raises(DiskFull, match=r"^the disk of \S+ is full"):
        hold(shards, 0)
    assert server.gets["big.tar"] == 1
    assert 10**6 < disk_use(shards.storage.cache) <= 3 * 10**6
    small_disk["bytes"] = 10**7
    there = disk_use(shards.storage.cache)
    sent = server.sent["big.tar"]
    release(hold(shards, 0))
    assert server.sent["big.tar"] - sent == shards.bytes[0] - there
    assert shards.storage.paths[0].read_bytes() == big.read_bytes()
