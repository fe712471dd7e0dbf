"""A tar on its way into the cache: the incoming file that its bytes go to, locked meanwhile."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ssl_swin.data.remote.room import Room, read_reservation, release, remove, write_reservation
from ssl_swin.data.remote.urls import shown
from ssl_swin.errors import RemoteError


@dataclass(frozen=True)
class RemoteTar:
    """A remote tar, its place in the cache, and what it should be."""

    url: str
    path: Path
    num_bytes: int
    check: Callable[[Path], None]
    """Raises ShardError if a file is not what the index says."""

    @property
    def incoming(self) -> Path:
        """Where it is fetched to."""
        return self.path.with_name(f".{self.path.name}.partial")


class IncomingFile:
    """A tar that is being fetched: the file that `take` opened, its bytes, and their version."""

    def __init__(self, file: int, tar: RemoteTar, room: Room) -> None:
        self.file, self.tar, self.room = file, tar, room
        self.path, self.num_bytes = tar.incoming, tar.num_bytes
        self.size = os.fstat(file).st_size
        self.version = read_reservation(self.path)[1] if self.size else ""

    def start_anew(self, version: str) -> None:
        """Drop every byte; those that follow are of this version."""
        os.ftruncate(self.file, 0)
        self.size, self.version = 0, version
        write = partial(write_reservation, self.path, self.num_bytes, version)
        self.room.with_room(write, self.path)

    def write(self, piece: bytes) -> None:
        """Append bytes; DiskFull if nothing more can be evicted."""
        left = memoryview(piece)
        while left:
            write = partial(os.pwrite, self.file, left, self.size)
            num = self.room.with_room(write, self.path, self.num_bytes - self.size)
            left, self.size = left[num:], self.size + num

    def __enter__(self) -> "IncomingFile":
        return self

    def __exit__(self, *error: object) -> None:
        """Unlock it; one without a byte goes, and the room that was kept for it."""
        if not self.size:
            remove(self.path)
        release(self.file)


class Fetcher:
    """Another process that fetches a tar, seen by how its incoming file grows."""

    def __init__(self, tar: RemoteTar, patience_s: float) -> None:
        self.tar, self.patience_s = tar, patience_s
        self._size, self._changed_at = -1, 0.0

    def look(self) -> None:
        """See how far it is; RemoteError if it has not moved for too long."""
        try:
            size = self.tar.incoming.lstat().st_size
        except FileNotFoundError:
            size = -1  # it has become the tar, or is gone
        now = time.monotonic()
        if size != self._size or size < 0:
            self._size, self._changed_at = size, now
        elif now - self._changed_at > self.patience_s:
            raise RemoteError(
                f"{self.tar.incoming} has not grown for {self.patience_s:g} s, and a process holds "
                f"it to fetch {shown(self.tar.url)}; end that process (fuser names it), or give "
                "another data.cache_dir"
            )
