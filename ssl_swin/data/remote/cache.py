"""The cache of remote shards: whole tars, each fetched once; `room.py` says how it is shared."""

import fcntl
import math
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ssl_swin.data.remote.download import download
from ssl_swin.data.remote.incoming import Fetcher, IncomingFile, RemoteTar
from ssl_swin.data.remote.room import FLAGS, Room, release, take
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.user_cache import NO_PLACE, make_cache
from ssl_swin.errors import ShardError

_DEFAULT_SHARE = 0.8  # of what is free
_LONGEST_POLL_S = 0.25
_USED_EVERY_S = 1.0  # how exact the time of the last use is


@dataclass(frozen=True)
class ShardCache:
    """Tars of this machine that are fetched when they are needed."""

    room: Room
    retry: Retry = field(default_factory=Retry)
    room_wait_s: float = 600.0
    """Seconds to wait until something may be evicted. As long is waited for another process that
    fetches a tar, after the time in which it should have given up."""

    @classmethod
    def open(cls, cache_dir: Path | None, cache_gb: float | None = None) -> "ShardCache":
        """Open the cache, or make it; the parameters are those of `open_shards`.

        What the cache holds already counts as free. ShardError if it cannot be written to.
        """
        room = Room(make_cache("remote shards", cache_dir) / "shards", 0)
        try:
            with room.locked():
                free = shutil.disk_usage(room.root).free + room.used_bytes()
        except OSError as error:
            if error.errno not in NO_PLACE:  # the storage's, which may pass
                raise
            raise ShardError(
                f"the cache of remote shards, {room.root}, cannot be written to: {error.strerror}; "
                "give another folder of this machine as data.cache_dir"
            ) from error
        limit_bytes = int(_DEFAULT_SHARE * free if cache_gb is None else cache_gb * 1e9)
        return cls(replace(room, limit_bytes=limit_bytes))

    def get(self, tar: RemoteTar, wait: bool = True) -> int | None:
        """Open a tar, fetching it if it is not there.

        Returns:
            A file descriptor that keeps the tar from being evicted until `release`; None if there
            is no room or others fetch it, and neither may be waited for.

        Raises:
            RemoteError: If it cannot be fetched, or a process that fetches it hangs.
            DiskFull: If the disk is full before the limit is reached.
            ShardError: If it is not what the index says, or there is no room.
        """
        no_room_since, poll_s = None, 0.01
        other = Fetcher(tar, self.retry.patience_s + self.room_wait_s)
        while True:
            if (file := _present(tar)) is not None:
                return file
            lock = self.room.with_room(partial(take, tar.incoming))
            if lock is not None:
                with IncomingFile(lock, tar, self.room) as incoming:
                    if (file := _present(tar)) is not None:  # another process has just fetched it
                        return file
                    if self.room.reserve(incoming.path, tar.num_bytes, incoming.version):
                        self._fetch(incoming)
                        continue
                no_room_since = no_room_since or time.monotonic()
                waited_s = time.monotonic() - no_room_since
                if tar.num_bytes > self.room.limit_bytes or waited_s > self.room_wait_s:
                    raise ShardError(
                        f"no room for {shown(tar.url)} ({tar.num_bytes / 1e9:.3g} GB): all of the "
                        f"{self.room.limit_bytes / 1e9:.3g} GB that {self.room.root} may hold is "
                        "in use; raise data.cache_gb"
                    )
            elif wait:
                other.look()
            if not wait:
                return None
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    def line(self, least_bytes: int) -> str:
        """Say in one line how much a run needs at once, and what may be held; refuse if less."""
        need, limit = f"{_round_up(least_bytes)} GB", f"{self.room.limit_bytes / 1e9:.3g} GB"
        if least_bytes > self.room.limit_bytes:
            raise ShardError(
                f"the remote shards of this run need at least {need} of cache at once, and "
                f"{self.room.root} may hold {limit}; set data.cache_gb to that or more, choose "
                "another data.cache_dir, or use fewer data.num_lanes, smaller shards or more "
                "machines"
            )
        return f"remote shards: at least {need} of cache, limit {limit}, in {self.room.root}"

    def _fetch(self, incoming: IncomingFile) -> None:
        """Fetch a tar; one that comes whole and wrong is fetched once more from its start."""
        tar = incoming.tar

        def fetch() -> None:
            try:
                download(tar.url, incoming, self.retry)
                os.fsync(incoming.file)
                tar.check(incoming.path)
            except ShardError:  # after a RemoteError, what has come is taken up again
                incoming.start_anew("")
                raise

        twice = replace(self.retry, num_tries=2)
        twice.run(fetch, ShardError, lambda _: True)
        self.room.finish(incoming.path, tar.path)


def _present(tar: RemoteTar) -> int | None:
    """Open a tar of the cache and lock it for reading; None if it is not there."""
    try:
        file = os.open(tar.path, os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    status = os.fstat(file)
    if status.st_nlink and status.st_size == tar.num_bytes:
        if time.time() - status.st_mtime > _USED_EVERY_S:
            os.utime(file)
        return file
    release(file)
    if status.st_nlink:  # of an older index; else evicted between opening and locking
        tar.path.unlink(missing_ok=True)
    return None


def _round_up(num_bytes: int) -> str:
    """Gigabytes that suffice, to three digits."""
    step = 10.0 ** (len(str(num_bytes)) - 3)
    return f"{math.ceil(num_bytes / step) * step / 1e9:.3g}"
