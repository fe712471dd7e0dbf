"""The cache of remote shards: whole tars in a folder of this machine, bounded in bytes.

All processes of a machine share it without a server, through file locks, which the kernel takes
back when a process dies. Whoever reads a tar holds a shared lock on it; whoever fetches one, an
exclusive lock on its partial file, so that it is fetched once. What nobody holds may be evicted,
the longest unused first. Locks belong to the open file: a process forked meanwhile holds them too.
"""

import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ssl_swin.data.remote.files import download
from ssl_swin.data.remote.incoming import (
    FLAGS,
    Answer,
    Fetcher,
    IncomingFile,
    RemoteShard,
    plan_path,
    read_plan,
    release,
    take,
    with_room,
)
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.names import cache_root
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import RemoteError, ShardError

_DEFAULT_SHARE = 0.8  # of what is free
_LONGEST_POLL_S = 0.25
_USED_EVERY_S = 1.0  # how exact the time of the last use is


class DiskFull(RemoteError):
    """The disk of the cache is full, and nothing more of it can be evicted."""


@dataclass(frozen=True)
class ShardCache:
    """A folder of tars that together stay below a limit."""

    root: Path
    limit_bytes: int
    retry: Retry = field(default_factory=Retry)
    room_wait_s: float = 600.0
    """Seconds to wait until something may be evicted; and for another process that fetches a shard
    and has lost all patience with the server."""

    @classmethod
    def open(
        cls, cache_dir: Path | None, cache_gb: float | None = None, retry: Retry | None = None
    ) -> "ShardCache":
        """Open the cache, or make it.

        Args:
            cache_dir: Folder for all that is cached; None means `~/.cache/ssl_swin`.
            cache_gb: Most gigabytes (1e9 bytes) of tars; None means 80 % of what is free, with what
                the cache holds already counted as free.
            retry: How patiently to fetch.

        Raises:
            ShardError: If the folder cannot be written to.
        """
        cache = cls(cache_root(cache_dir) / "shards", 0, retry or Retry())
        try:
            with cache._locked():
                free = shutil.disk_usage(cache.root).free + cache.used_bytes()
        except OSError as error:
            raise ShardError(
                f"the cache of remote shards, {cache.root}, cannot be written to "
                f"({error.strerror}); give another folder of this machine as data.cache_dir"
            ) from error
        limit = int(_DEFAULT_SHARE * free if cache_gb is None else cache_gb * 1e9)
        return cls(cache.root, limit, cache.retry)

    def get(self, wanted: RemoteShard, wait: bool = True) -> int | None:
        """Open a shard, fetching it if it is not there.

        Args:
            wanted: The shard.
            wait: Wait for room, and for others that fetch the same shard.

        Returns:
            A file descriptor that keeps the shard from being evicted until `release`; None if
            `wait` is off and it cannot be had now.

        Raises:
            RemoteError: If it cannot be fetched, or a process that fetches it hangs.
            DiskFull: If the disk is full before the limit is reached.
            ShardError: If it is not what the index says, or there is no room.
        """
        no_room_since, poll_s = None, 0.01
        other = Fetcher(wanted, self.retry.patience_s + self.room_wait_s)
        while True:
            file = _present(wanted)
            if file is not None:
                return file
            lock = self.with_room(partial(take, wanted.partial))
            if lock is not None:
                with IncomingFile(lock, wanted, self._make_room_on_disk) as began:
                    file = _present(wanted)  # another process may just have fetched it
                    if file is not None:
                        return file
                    if self._reserve(began):
                        self._fetch(wanted, began)
                        continue
                no_room_since = no_room_since or time.monotonic()
                waited_s = time.monotonic() - no_room_since
                if wanted.num_bytes > self.limit_bytes or waited_s > self.room_wait_s:
                    raise self._no_room(wanted)
            elif wait:
                other.look()
            if not wait:
                return None
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    def forget(self, path: Path) -> None:
        """Remove a tar that turned out to be another than the index says."""
        path.unlink(missing_ok=True)

    def line(self, least_bytes: int) -> str:
        """Say in one line how much of the cache a run needs at once, and what it may hold.

        Raises:
            ShardError: If it may hold less.
        """
        need, limit = f"{_round_up(least_bytes)} GB", f"{self.limit_bytes / 1e9:.3g} GB"
        if least_bytes > self.limit_bytes:
            raise ShardError(
                f"the remote shards of this run need at least {need} of cache at once, and "
                f"{self.root} may hold {limit}; set data.cache_gb to that or more, choose another "
                "data.cache_dir, or use fewer data.num_lanes, smaller shards or more machines"
            )
        return f"remote shards: at least {need} of cache, limit {limit}, in {self.root}"

    def used_bytes(self) -> int:
        """Bytes of all tars, those that are still being fetched counted whole."""
        return sum(file.num_bytes for file in self._files())

    def with_room(self, write: Callable[[], Answer]) -> Answer:
        """Write something small, and evict what nobody uses while the disk is full.

        Raises:
            DiskFull: If nothing more can be evicted.
        """
        return with_room(write, partial(self._make_room_on_disk, None, 1))

    def _fetch(self, wanted: RemoteShard, began: "IncomingFile") -> None:
        """Fetch a shard; one that comes whole and wrong is fetched once more from its start."""

        def fetch() -> None:
            try:
                download(wanted.url, began, self.retry)
                os.fsync(began.file)
                wanted.check(wanted.partial)
            except RemoteError:  # or a full disk: what has come is taken up again
                raise
            except ShardError:
                began.start_anew("")
                raise

        twice = replace(self.retry, num_tries=2)
        twice.run(fetch, ShardError, lambda error: not isinstance(error, RemoteError))
        with self._locked():  # whoever counts bytes sees it under one name
            began.finish()

    def _reserve(self, began: "IncomingFile") -> bool:
        """Make room for a whole shard and keep it; false if too much is in use."""
        with self._locked():
            others = [file for file in self._files() if file.path != began.path]
            excess = sum(file.num_bytes for file in others) + began.num_bytes - self.limit_bytes
            for file in sorted(others, key=lambda file: file.used_at):
                if excess <= 0:
                    break
                if _evict(file.path):
                    excess -= file.num_bytes
            if excess <= 0:
                with_room(began.write_plan, partial(self._evict_some, began.path, 1))
            return excess <= 0

    def _make_room_on_disk(self, keep: Path | None, num_bytes: int) -> None:
        """Evict what nobody uses, because the disk is full before the limit is reached."""
        with self._locked():
            self._evict_some(keep, num_bytes)

    def _evict_some(self, keep: Path | None, num_bytes: int) -> None:
        freed = 0
        for file in sorted(self._files(), key=lambda file: file.used_at):
            if freed < num_bytes and file.path != keep and _evict(file.path):
                freed += file.num_bytes
        if not freed:
            raise DiskFull(
                f"the disk of {self.root} is full, and all that it holds of shards is in use; free "
                f"some of it, or set data.cache_gb below {self.limit_bytes / 1e9:.3g}"
            )

    def _no_room(self, wanted: RemoteShard) -> ShardError:
        return ShardError(
            f"no room for {shown(wanted.url)} ({wanted.num_bytes / 1e9:.3g} GB): all of the "
            f"{self.limit_bytes / 1e9:.3g} GB that {self.root} may hold is in use; raise "
            "data.cache_gb"
        )

    def _files(self) -> Iterator["_Cached"]:
        for folder in self.root.iterdir():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            for path in folder.iterdir():
                if path.name.endswith((".tar", ".tar.partial")):
                    try:
                        status = path.lstat()
                    except FileNotFoundError:
                        continue  # evicted or finished this moment
                    num_bytes = status.st_size
                    if path.name.endswith(".partial"):
                        num_bytes = max(num_bytes, read_plan(path)[0])
                    yield _Cached(path, num_bytes, status.st_mtime)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other process from counting, evicting and renaming."""
        self.root.mkdir(parents=True, exist_ok=True)
        file = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | FLAGS, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            release(file)


def _round_up(num_bytes: int) -> str:
    """Gigabytes that suffice, to three digits."""
    step = 10.0 ** (len(str(num_bytes)) - 3)
    return f"{math.ceil(num_bytes / step) * step / 1e9:.3g}"


@dataclass(frozen=True)
class _Cached:
    path: Path
    num_bytes: int
    used_at: float


def _present(wanted: RemoteShard) -> int | None:
    """Open a tar of the cache and lock it for reading; None if it is not there."""
    try:
        file = os.open(wanted.path, os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    status = os.fstat(file)
    if status.st_nlink and status.st_size == wanted.num_bytes:
        if time.time() - status.st_mtime > _USED_EVERY_S:
            os.utime(file)
        return file
    release(file)
    if status.st_nlink:  # of an older index; else evicted between opening and locking
        wanted.path.unlink(missing_ok=True)
    return None


def _evict(path: Path) -> bool:
    """Remove a tar or a partial file unless somebody holds it."""
    try:
        file = os.open(path, os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        plan_path(path).unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        release(file)
    return True
