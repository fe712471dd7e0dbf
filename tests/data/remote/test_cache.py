import errno
import fcntl
import gc
import io
import os
import threading
import time
import warnings
from multiprocessing import get_context

import pytest

from ssl_swin.data.open import open_shards
from ssl_swin.data.remote.cache import DiskFull, RemoteShard, ShardCache, release
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import RemoteError, ShardError
from tests.data.remote.faulty import QUICK, cache_in, remote_set, serving
from tests.data.shards.tars import samples, write_tar

NUM = 6


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    for place in range(NUM):
        write_tar(folder / f"{place}.tar", samples(4, 4 * place))
    index_shards(sorted(folder.glob("*.tar")))
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def size(folder):
    (size,) = {path.stat().st_size for path in folder.glob("*.tar")}
    return size


def hold(shards, shard, wait=True):
    return shards.storage.hold(shard, wait)


def disk_use(cache):
    """Bytes of all tars on the disk, whole or not."""
    with cache._locked():  # else a file may be counted that makes room for the next
        paths = [p for p in cache.root.glob("*/*") if p.name.endswith((".tar", ".tar.partial"))]
        return sum(path.lstat().st_size for path in paths)


def wanted_of(server, tmp_path, size, name="0.tar"):
    return RemoteShard(
        f"{server.url}/{name}", tmp_path / "shards" / "x" / name, size, lambda _: None
    )


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
    assert size < most <= cache.limit_bytes
    if num_fitting == NUM:
        assert server.sent["0.tar"] == size
        assert all(server.gets[f"{place}.tar"] == 1 for place in range(NUM))


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
    assert cache.used_bytes() == disk_use(cache) == 3 * size
    assert not list(cache.root.glob("*/.4*"))
    release(files[0])
    release(hold(shards, 4))
    assert not shards.storage.paths[0].exists()


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


def forked(child):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads when they fork
        pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(0)
    return pid


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
    assert shards.storage.cache.used_bytes() == shards.bytes[0]  # its room is kept
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


def test_what_killed_processes_left_is_evicted(server, tmp_path, size):
    shards = remote_set(server.url, cache_in(tmp_path, 2 * size))
    folder = shards.storage.paths[0].parent
    folder.mkdir(parents=True)
    (folder / ".gone.tar.partial").write_bytes(b"x" * 100)
    (folder / ".gone.tar.partial.plan").write_text(f"{2 * size} abc")
    assert shards.storage.cache.used_bytes() == 2 * size
    release(hold(shards, 0))
    assert not list(folder.glob(".gone*"))


@pytest.mark.parametrize("plan", [b"", b"\0" * 30, b"12", b"x y", b"\xff\xfe 3"])
def test_a_plan_that_a_power_failure_has_left_is_no_plan(server, tmp_path, size, plan):
    shards = remote_set(server.url, cache_in(tmp_path, 2 * size))
    folder = shards.storage.paths[0].parent
    folder.mkdir(parents=True)
    for name in ("0", "gone"):
        (folder / f".{name}.tar.partial").write_bytes(b"x" * 100)
        (folder / f".{name}.tar.partial.plan").write_bytes(plan)
    assert ShardCache.open(tmp_path, retry=QUICK).used_bytes() == 200
    release(hold(shards, 0))
    assert server.sent["0.tar"] == size
    release(hold(shards, 1))
    assert not list(folder.glob(".gone*"))


@pytest.mark.parametrize("name", ["0.tar", ".0.tar.partial"])
def test_links_in_the_cache_are_not_followed(server, tmp_path, size, name):
    wanted = wanted_of(server, tmp_path, size)
    wanted.path.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (wanted.path.parent / name).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links") as error:
        cache_in(tmp_path).get(wanted)
    assert error.value.errno == errno.ELOOP
    assert outside.read_bytes() == b"mine"


@pytest.fixture
def small_disk(monkeypatch, tmp_path):
    """A disk that is full when the cache holds more than it has room for: no byte, no new file."""
    pwrite, os_open, io_open = os.pwrite, os.open, io.open
    room = {"bytes": 0}

    def need(num_bytes):
        tars = [p for p in tmp_path.glob("shards/*/*") if p.name.endswith((".tar", ".tar.partial"))]
        if room["bytes"] - sum(path.lstat().st_size for path in tars) < num_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def need_file(path):
        if room["bytes"] and str(path).startswith(f"{tmp_path}/shards/") and not path.exists():
            need(1)

    def small_pwrite(file, data, offset):
        need(len(data))
        return pwrite(file, data, offset)

    def small_os_open(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            need_file(path)
        return os_open(path, flags, *rest, **options)

    def small_io_open(path, mode="r", *rest, **options):
        if "w" in mode:
            need_file(path)
        return io_open(path, mode, *rest, **options)

    monkeypatch.setattr(os, "pwrite", small_pwrite)
    monkeypatch.setattr(os, "open", small_os_open)
    monkeypatch.setattr(io, "open", small_io_open)
    return room


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
    for path in cache.root.glob("*/*.npy"):
        path.unlink()
    assert len(remote_set(server.url, cache).storage.rows(2)) == 4


def test_a_disk_without_room_for_a_plan_evicts_too(server, tmp_path, size, small_disk):
    shards = remote_set(server.url, cache_in(tmp_path, NUM * size))
    small_disk["bytes"] = size + 100
    shards.storage.rows(1)
    release(hold(shards, 0))
    shards.storage.paths[1].with_name(".1.tar.partial").write_bytes(b"x" * 100)
    release(hold(shards, 1))
    assert [path.exists() for path in shards.storage.paths[:2]] == [False, True]


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


@pytest.mark.parametrize("kind", ["under a file", "read-only"])
def test_a_cache_that_cannot_be_written_to_is_refused_by_name(tmp_path, kind):
    place = tmp_path / "place"
    if kind == "under a file":
        place.write_text("")
    else:
        (place / "shards").mkdir(parents=True)
        (place / "shards" / ".lock").mkdir()  # what root cannot open for writing either
    message = r"^the cache of remote shards, \S+, cannot be written to .* as data\.cache_dir$"
    with pytest.raises(ShardError, match=message):
        ShardCache.open(place)


def test_the_limit_is_what_was_given_or_a_share_of_what_is_free(tmp_path, monkeypatch):
    assert ShardCache.open(tmp_path, 0.5).limit_bytes == 500_000_000
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert ShardCache.open(tmp_path).limit_bytes == 800
    folder = tmp_path / "shards" / "x"
    folder.mkdir()
    (folder / "a.tar").write_bytes(b"x" * 500)
    assert ShardCache.open(tmp_path).limit_bytes == 1200


def test_threads_of_one_process_fetch_a_shard_once(server, tmp_path, size):
    wanted, cache = wanted_of(server, tmp_path, size), cache_in(tmp_path)
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
