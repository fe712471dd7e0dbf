"""A tar on its way into the cache: its partial file, which is locked, and a plan beside it."""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ssl_swin.data.remote.urls import shown
from ssl_swin.errors import RemoteError

FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW  # a link that lies in the cache leads nowhere
_FULL = (errno.ENOSPC, errno.EDQUOT)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteShard:
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


class IncomingFile:
    """A tar that is being fetched, locked; a plan beside it has its full size and its version."""

    def __init__(
        self, file: int, wanted: RemoteShard, on_full: Callable[[Path, int], None]
    ) -> None:
        self.file, self.wanted, self.on_full = file, wanted, on_full
        self.path, self.num_bytes = wanted.partial, wanted.num_bytes
        self.size = os.fstat(file).st_size
        self.version = read_plan(self.path)[1] if self.size else ""

    def write_plan(self) -> None:
        """Let the others know how large it will be."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(f"{self.num_bytes} {self.version}")
        new.replace(plan_path(self.path))

    def start_anew(self, version: str) -> None:
        """Drop every byte; those that follow are of this version."""
        os.ftruncate(self.file, 0)
        self.size, self.version = 0, version
        with_room(self.write_plan, partial(self.on_full, self.path, 1))

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            RemoteError: If nothing more can be evicted.
        """
        left = memoryview(piece)
        while left:
            num = with_room(
                partial(os.pwrite, self.file, left, self.size),
                partial(self.on_full, self.path, self.num_bytes - self.size),
            )
            left, self.size = left[num:], self.size + num

    def finish(self) -> None:
        """Give the tar its name; what is locked now is the tar."""
        os.replace(self.path, self.wanted.path)
        plan_path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> "IncomingFile":
        return self

    def __exit__(self, *error: object) -> None:
        """Unlock it; one without a byte goes, and its reservation."""
        if not self.size:
            self.path.unlink(missing_ok=True)
            plan_path(self.path).unlink(missing_ok=True)
        release(self.file)


class Fetcher:
    """Another process that fetches a shard, for as long as its partial file changes."""

    def __init__(self, wanted: RemoteShard, patience_s: float) -> None:
        self.wanted, self.patience_s = wanted, patience_s
        self._size, self._changed_at = -1, 0.0

    def look(self) -> None:
        """See how far it is.

        Raises:
            RemoteError: If it has not moved for too long.
        """
        try:
            size = self.wanted.partial.lstat().st_size
        except FileNotFoundError:
            size = -1  # it has become the tar, or is gone
        now = time.monotonic()
        if size != self._size or size < 0:
            self._size, self._changed_at = size, now
        elif now - self._changed_at > self.patience_s:
            raise RemoteError(
                f"{self.wanted.partial} has not grown for {self.patience_s:g} s, and a "
                f"process holds it to fetch {shown(self.wanted.url)}; end that process (fuser "
                "names it), or give another data.cache_dir"
            )


def take(partial: Path) -> int | None:
    """Open a partial file, made if need be, and lock it; None if others hold it.

    It is not waited for: once it has become the tar, readers may hold it for hours.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(partial, os.O_RDWR | os.O_CREAT | FLAGS, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.lstat(partial)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(file)  # held, or finished or removed between opening and locking
    return None


def plan_path(partial: Path) -> Path:
    """Where the plan of a partial file is."""
    return partial.with_name(f"{partial.name}.plan")


def read_plan(partial: Path) -> tuple[int, str]:
    """Return the bytes kept for a partial file, and the version of those it has.

    What a power failure has left there is as good as no plan.
    """
    try:
        num_bytes, _, version = plan_path(partial).read_text().partition(" ")
        return int(num_bytes), version
    except (FileNotFoundError, ValueError):
        return 0, ""


def with_room(write: Callable[[], Answer], make_room: Callable[[], None]) -> Answer:
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
