"""The cache of remote shards: whole tars in a folder of this machine, bounded in bytes.

All processes of a machine share it without a server, through file locks, which the kernel takes
back when a process dies. Whoever reads a tar holds a shared lock on it; whoever fetches one, an
exclusive lock on its partial file, so that it is fetched once. What nobody holds may be evicted,
the longest unused first. Locks belong to the open file: a process forked meanwhile holds them too.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from ssl_swin.data.layout import RemoteError, ShardError, cache_root
from ssl_swin.data.remote import download
from ssl_swin.data.retry import Retry
from ssl_swin.data.urls import shown

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW  # a link that lies in the cache leads nowhere
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DEFAULT_SHARE = 0.8  # of what is free
_LONGEST_POLL_S = 0.25
_USED_EVERY_S = 1.0  # how exact the time of the last use is


Answer = TypeVar("Answer")


class DiskFull(RemoteError):
    """The disk of the cache is full, and nothing more of it can be evicted."""


@dataclass(frozen=True)
class Wanted:
    """A remote shard, where it belongs, and what it should be."""

    url: str
    path: Path
    num_bytes: int
    check: Callable[[Path], None]
    """Raises ShardError if a file is not what the index says."""

    @property
    def partial(self) -> Path:
        """Where the tar is fetched to."""
        return self.path.with_name(f".{self.path.name}.partial")


@dataclass(frozen=True)
class ShardCache:
    """A folder of tars that together stay below a limit."""

    root: Path
    limit_bytes: int
    retry: Retry = field(default_factory=Retry)
    room_wait_s: float = 600.0
    """Seconds to wait until something may be evicted."""

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

    def get(self, wanted: Wanted, wait: bool = True) -> int | None:
        """Open a shard, fetching it if it is not there.

        Args:
            wanted: The shard.
            wait: Wait for room, and for others that fetch the same shard.

        Returns:
            A file descriptor that keeps the shard from being evicted until `release`; None if
            `wait` is off and it cannot be had now.

        Raises:
            RemoteError: If it cannot be fetched.
            DiskFull: If the disk is full before the limit is reached.
            ShardError: If it is not what the index says, or there is no room.
        """
        no_room_since, poll_s = None, 0.01
        while True:
            file = _present(wanted)
            if file is not None:
                return file
            lock = self.with_room(partial(_take, wanted.partial))
            if lock is not None:
                with _Partial(lock, wanted, self._make_room_on_disk) as began:
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
            if not wait:
                return None
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    def forget(self, path: Path) -> None:
        """Remove a tar that turned out to be another than the index says."""
        path.unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Bytes of all tars, those that are still being fetched counted whole."""
        return sum(file.num_bytes for file in self._files())

    def with_room(self, write: Callable[[], Answer]) -> Answer:
        """Write something small, and evict what nobody uses while the disk is full.

        Raises:
            DiskFull: If nothing more can be evicted.
        """
        return _with_room(write, partial(self._make_room_on_disk, None, 1))

    def _fetch(self, wanted: Wanted, began: "_Partial") -> None:
        """Fetch a shard; one that comes whole and wrong is fetched once more from its start."""
        for last in (False, True):
            try:
                download(wanted.url, began, self.retry)
                os.fsync(began.file)
                wanted.check(wanted.partial)
            except RemoteError:  # or a full disk: what has come is taken up again
                raise
            except ShardError:
                began.start_anew("")
                if last:
                    raise
                self.retry.wait(1)
            else:
                with self._locked():  # whoever counts bytes sees it under one name
                    began.finish()
                return

    def _reserve(self, began: "_Partial") -> bool:
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
                _with_room(began.write_plan, partial(self._evict_some, began.path, 1))
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

    def _no_room(self, wanted: Wanted) -> ShardError:
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
                        num_bytes = max(num_bytes, _read_plan(path)[0])
                    yield _Cached(path, num_bytes, status.st_mtime)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other process from counting, evicting and renaming."""
        self.root.mkdir(parents=True, exist_ok=True)
        file = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            release(file)


@dataclass(frozen=True)
class _Cached:
    path: Path
    num_bytes: int
    used_at: float


class _Partial:
    """A tar that is being fetched, locked; a plan beside it has its full size and its version."""

    def __init__(self, file: int, wanted: Wanted, on_full: Callable[[Path, int], None]) -> None:
        self.file, self.wanted, self.on_full = file, wanted, on_full
        self.path, self.num_bytes = wanted.partial, wanted.num_bytes
        self.size = os.fstat(file).st_size
        self.version = _read_plan(self.path)[1] if self.size else ""

    def write_plan(self) -> None:
        """Let the others know how large it will be."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(f"{self.num_bytes} {self.version}")
        new.replace(_plan(self.path))

    def start_anew(self, version: str) -> None:
        os.ftruncate(self.file, 0)
        self.size, self.version = 0, version
        _with_room(self.write_plan, partial(self.on_full, self.path, 1))

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            DiskFull: If nothing more can be evicted.
        """
        left = memoryview(piece)
        while left:
            num = _with_room(
                partial(os.pwrite, self.file, left, self.size),
                partial(self.on_full, self.path, self.num_bytes - self.size),
            )
            left, self.size = left[num:], self.size + num

    def finish(self) -> None:
        """Give the tar its name; what is locked now is the tar."""
        os.replace(self.path, self.wanted.path)
        _plan(self.path).unlink(missing_ok=True)

    def __enter__(self) -> "_Partial":
        return self

    def __exit__(self, *error: object) -> None:
        """Unlock it; one without a byte goes, and its reservation."""
        if not self.size:
            self.path.unlink(missing_ok=True)
            _plan(self.path).unlink(missing_ok=True)
        release(self.file)


def _with_room(write: Callable[[], Answer], make_room: Callable[[], None]) -> Answer:
    """Write, and make room for as long as the disk is full."""
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
        make_room()


def release(file: int) -> None:
    """Close a file of the cache; its lock goes, also where a forked process has a copy of it."""
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _present(wanted: Wanted) -> int | None:
    """Open a tar of the cache and lock it for reading; None if it is not there."""
    try:
        file = os.open(wanted.path, os.O_RDONLY | _FLAGS)
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


def _take(partial: Path) -> int | None:
    """Open a partial file, made if need be, and lock it; None if others hold it.

    It is not waited for: once it has become the tar, readers may hold it for hours.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(partial, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.lstat(partial)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(file)  # held, or finished or removed between opening and locking
    return None


def _evict(path: Path) -> bool:
    """Remove a tar or a partial file unless somebody holds it."""
    try:
        file = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        _plan(path).unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        release(file)
    return True


def _plan(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.plan")


def _read_plan(partial: Path) -> tuple[int, str]:
    """Return the bytes kept for a partial file, and the version of those it has.

    What a power failure has left there is as good as no plan.
    """
    try:
        num_bytes, _, version = _plan(partial).read_text().partition(" ")
        return int(num_bytes), version
    except (FileNotFoundError, ValueError):
        return 0, ""
