"""Room in the cache: what it holds, for how much more there is room, and what goes to make some.

All processes of a machine share the cache without a server, through file locks, which the kernel
takes back when a process dies. Whoever reads a tar holds a shared lock on it; whoever fetches one,
an exclusive lock on its incoming file. What nobody holds may be evicted, the longest unused first.
Locks belong to the open file: a process that is forked meanwhile holds them too.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssl_swin.data.shards.retry import Answer
from ssl_swin.errors import RemoteError
from ssl_swin.machine import NO_ROOM

FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW  # a link that lies in the cache leads nowhere


class DiskFull(RemoteError):
    """The disk of the cache is full, and nothing more of it can be evicted."""


@dataclass(frozen=True)
class Room:
    """A folder of tars that together stay below a limit."""

    root: Path
    limit_bytes: int

    def used_bytes(self) -> int:
        """Bytes of all tars, those that are still being fetched counted whole."""
        return sum(file.num_bytes for file in self._files())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from counting, evicting and renaming."""
        with locked(self.root / ".lock"):
            yield

    def reserve(self, path: Path, num_bytes: int, version: str) -> bool:
        """Make room for a whole tar, and note beside its incoming file that the room is taken.

        Returns:
            False if too much of the cache is in use.

        Raises:
            DiskFull: If the disk has no room for the note.
        """
        with self.locked():
            others = [file for file in self._files() if file.path != path]
            excess = sum(file.num_bytes for file in others) + num_bytes - self.limit_bytes
            for file in sorted(others):
                if excess <= 0:
                    break
                if _evict(file.path):
                    excess -= file.num_bytes
            if excess <= 0:
                write = partial(write_reservation, path, num_bytes, version)
                self._while_full(write, partial(self._evict_some, path, 1))
            return excess <= 0

    def finish(self, incoming: Path, tar: Path) -> None:
        """Give an incoming file its name; what is locked then is the tar."""
        with self.locked():  # whoever counts bytes sees it under one name
            os.replace(incoming, tar)
            _reservation(incoming).unlink(missing_ok=True)

    def with_room(
        self, write: Callable[[], Answer], keep: Path | None = None, num_bytes: int = 1
    ) -> Answer:
        """Write something, and evict what nobody uses for as long as the disk is full.

        Args:
            write: Writes it, or raises the error of a full disk.
            keep: An incoming file that is not to go.
            num_bytes: How much to evict at a time, if there is as much.

        Raises:
            DiskFull: If nothing more can be evicted.
        """

        def evict() -> int:
            with self.locked():
                return self._evict_some(keep, num_bytes)

        return self._while_full(write, evict)

    def _while_full(self, write: Callable[[], Answer], evict: Callable[[], int]) -> Answer:
        freed = 1
        while True:
            try:
                return write()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                if not freed:
                    raise DiskFull(
                        f"the disk of {self.root} is full, and all that it holds of shards is in "
                        "use; free some of it, or set data.cache_gb below "
                        f"{self.limit_bytes / 1e9:.3g}"
                    ) from error
            freed = evict()  # if it is 0, others may still have made room since: one more try

    def _evict_some(self, keep: Path | None, num_bytes: int) -> int:
        """Evict the longest unused until so many bytes are free; return how many there were."""
        freed = 0
        for file in sorted(self._files()):
            if freed < num_bytes and file.path != keep and _evict(file.path):
                freed += file.num_bytes
        return freed

    def _files(self) -> Iterator["_File"]:
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
                        num_bytes = max(num_bytes, read_reservation(path)[0])
                    yield _File(status.st_mtime, num_bytes, path)


class _File(NamedTuple):
    """A tar of the cache, or an incoming file; the longest unused is the smallest."""

    used_at: float
    num_bytes: int
    path: Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other process of this machine from locking the same file, made if need be."""
    file = _open_or_make(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        release(file)


def take(incoming: Path) -> int | None:
    """Open an incoming file, made if need be, and lock it; None if others hold it.

    It is not waited for: once it has become the tar, readers may hold it for hours.
    """
    file = _open_or_make(incoming)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.lstat(incoming)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(file)  # held, or finished or removed between opening and locking
    return None


def _open_or_make(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o644)


def _reservation(incoming: Path) -> Path:
    return incoming.with_name(f"{incoming.name}.plan")


def write_reservation(incoming: Path, num_bytes: int, version: str) -> None:
    """Let the others know how large an incoming file will be, and the version of its bytes."""
    new = incoming.with_name(f"{incoming.name}.new")
    new.write_text(f"{num_bytes} {version}")
    new.replace(_reservation(incoming))


def read_reservation(incoming: Path) -> tuple[int, str]:
    """Return the bytes that an incoming file will have, and the version of those it has.

    What a power failure has left there counts as nothing: 0 bytes, no version.
    """
    try:
        num_bytes, _, version = _reservation(incoming).read_text().partition(" ")
        return int(num_bytes), version
    except (FileNotFoundError, ValueError):
        return 0, ""


def release(file: int) -> None:
    """Close a file of the cache; its lock goes, also where a forked process has a copy of it."""
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def remove(path: Path) -> None:
    """Remove a tar or an incoming file, and the room that is kept for it."""
    path.unlink(missing_ok=True)
    _reservation(path).unlink(missing_ok=True)


def _evict(path: Path) -> bool:
    """Remove a tar or an incoming file; false if somebody holds it."""
    try:
        file = os.open(path, os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(path)
    except BlockingIOError:
        return False
    finally:
        release(file)
    return True
