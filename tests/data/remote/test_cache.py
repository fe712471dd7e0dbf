import fcntl
import gc
import os
import threading
import time
from multiprocessing import get_context

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.room import release
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.errors import ShardError
from tests.data.remote.faulty import QUICK, cache_in, remote_set
from tests.data.remote.sets import disk_use, forked, hold, remote_tar
from tests.data.shards.tars import indexed_tars

NUM = 6


@pytest.fixture
def folder(tmp_path):
    return indexed_tars(tmp_path / "there", [4] * NUM, "{}.tar")


def read_everything(url, cache, expected, start, results):
    """Body of a process: read the whole set again and again in another order than the others."""
    start.wait(30)
    shards = remote_set(url, cache)
    reader = ShardReader(shards)
    ok = True
    for turn in range(3):
        for place in range(len(shards.storage.paths)):
            shard = (place * (1 + 4 * (os.getpid() % 2)) + turn) % len(shards.storage.paths)
            found = [reader.read(shard, row) for row in range(int(shards.counts[shard]))]
            ok = ok and found == expected[shard]
    results.put(ok)


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("num_fitting", [NUM, 3])
def test_processes_share_a_cache(folder, server, tmp_path, size, num_processes, num_fitting):
    local = ShardReader(open_shards(str(folder)))
    expected = [[local.read(shard, row) for row in range(4)] for shard in range(NUM)]
    cache = cache_in(tmp_path, num_fitting * size, room_wait_s=30)
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    results, start = context.Queue(), context.Event()
    arguments = (server.url, cache, expected, start, results)
    processes = [
        context.Process(target=read_everything, args=arguments) for _ in range(num_processes)
    ]
    for process in processes:
        process.start()
    start.set()
    most = 0
    while any(process.is_alive() for process in processes):
        most = max(most, disk_use(cache))
        time.sleep(0.002)
    assert [results.get(timeout=5) for _ in processes] == [True] * num_processes
    assert size < most <= cache.room.limit_bytes
    if num_fitting == NUM:
        assert server.sent["0.tar"] == size
        assert all(server.gets[f"{place}.tar"] == 1 for place in range(NUM))


def test_a_shard_larger_than_the_limit_is_refused_at_once(server, tmp_path, size):
    shards = remote_set(server.url, cache_in(tmp_path, size - 1, room_wait_s=60))
    with pytest.raises(ShardError, match="no room"):
        hold(shards, 0)


def test_one_that_is_waited_for_comes_when_another_is_let_go(server, tmp_path, size):
    shards = remote_set(server.url, cache_in(tmp_path, size, room_wait_s=30))
    file = hold(shards, 0)
    timer = threading.Timer(0.2, release, [file])
    timer.start()
    release(hold(shards, 1))
    timer.join()


def test_what_a_forked_process_inherits_holds_nothing(server, tmp_path, size):
    shards = remote_set(server.url, cache_in(tmp_path, size))
    file = hold(shards, 0)
    child = forked(lambda: time.sleep(30))
    release(file)
    release(hold(shards, 1))  # although the child has a copy of the descriptor
    os.kill(child, 9)
    os.waitpid(child, 0)


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(server, tmp_path):
    retry = type(QUICK)(stalled_s=5)
    shards = remote_set(server.url, cache_in(tmp_path, retry=retry))
    for shard in range(NUM // 2):
        release(hold(shards, shard))  # connections are kept open for the next one
    child = forked(lambda: (release(hold(shards, NUM - 1)), gc.collect()))
    os.waitpid(child, 0)
    assert shards.storage.paths[NUM - 1].exists()
    began = time.monotonic()
    release(hold(shards, NUM - 2))
    assert time.monotonic() - began < 4


def test_threads_of_one_process_fetch_a_shard_once(server, tmp_path, size):
    wanted, cache = remote_tar(server, tmp_path, size), cache_in(tmp_path)
    files = []
    threads = [threading.Thread(target=lambda: files.append(cache.get(wanted))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.gets["0.tar"] == 1
    assert len(files) == 4
    with wanted.path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for file in files:
        release(file)


@pytest.mark.parametrize("kind", ["under a file", "read-only"])
def test_a_cache_that_cannot_be_written_to_is_refused_by_name(tmp_path, kind):
    place = tmp_path / "place"
    if kind == "under a file":
        place.write_text("")
    else:
        (place / "shards").mkdir(parents=True)
        (place / "shards" / ".lock").mkdir()  # what root cannot open for writing either
    message = r"\S+ cannot be written to: .* as data\.cache_dir"
    with pytest.raises(ShardError, match=message):
        ShardCache.open(place)


def test_the_limit_is_what_was_given_or_a_share_of_what_is_free(tmp_path, monkeypatch):
    assert ShardCache.open(tmp_path, 0.5).room.limit_bytes == 500_000_000
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert ShardCache.open(tmp_path).room.limit_bytes == 800
    folder = tmp_path / "shards" / "x"
    folder.mkdir()
    (folder / "a.tar").write_bytes(b"x" * 500)
    assert ShardCache.open(tmp_path).room.limit_bytes == 1200
