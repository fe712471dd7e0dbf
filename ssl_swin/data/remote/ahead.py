"""Fetches remote shards ahead of need, so that no loader worker waits, and holds those in use."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssl_swin.data.order.lanes import Share
from ssl_swin.data.order.shares import Shares
from ssl_swin.data.remote.room import release
from ssl_swin.data.shards.storage import NeededAt, Prefetch
from ssl_swin.errors import ShardError

_NUM_THREADS = 4
_ASK_AGAIN_S = 0.5  # for a shard that another process is fetching, or that there is no room for
_LEAVE_S = 1.0


class FetchAhead(Prefetch):
    """Fetches the shards that a rank needs now and next, and holds them until they are done.

    `hold` opens a shard and keeps it from being evicted until `release`; it returns None if it
    cannot be had now. Its error is left to the loader worker that needs the shard and asks again.
    """

    def __init__(self, hold: Callable[[int], int | None], needed_at: NeededAt) -> None:
        self.hold, self.needed_at = hold, needed_at
        self._changed = threading.Condition()
        self._wanted: list[int] = []
        self._held: dict[int, int] = {}
        self._tried: set[int] = set()
        self._until, self._closed = -1, False
        self._threads = [
            threading.Thread(target=self._run, name="fetch-ahead", daemon=True)
            for _ in range(_NUM_THREADS)
        ]

    def reached(self, step: int) -> None:
        """Say that no step before this one is being read any more."""
        if step < self._until:
            return
        wanted, until = self.needed_at(step)
        with self._changed:
            self._wanted, self._until = wanted, until
            self._tried.clear()
            for shard in [shard for shard in self._held if shard not in wanted]:
                release(self._held.pop(shard))
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def close(self) -> None:
        """Let go of every shard; a download in progress stays as far as it is."""
        with self._changed:
            self._wanted, self._closed = [], True
            while self._held:
                release(self._held.popitem()[1])
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_LEAVE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (shard := self._next()) is None:
                    self._changed.wait()
                if self._closed or shard is None:
                    return
                self._tried.add(shard)
            try:
                file = self.hold(shard)
            except (ShardError, OSError):
                continue
            with self._changed:
                if file is None:
                    self._changed.wait(_ASK_AGAIN_S)
                    self._tried.discard(shard)
                elif shard in self._wanted and shard not in self._held:
                    self._held[shard] = file
                else:
                    release(file)

    def _next(self) -> int | None:
        """Return the most urgent shard that no thread has tried to fetch."""
        left = (s for s in self._wanted if s not in self._held and s not in self._tried)
        return next(left, None)


@dataclass(frozen=True)
class TrackedShares:
    """A batch sampler that says how far the loader is.

    The loader takes `num_in_flight` shares before it hands on the first batch. When it takes one
    more, the batch of the share that it took so many before has been handed on.
    """

    shares: Shares
    ahead: Prefetch
    num_in_flight: int

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[Share]:
        first = self.shares.start_step
        for step, share in enumerate(self.shares, first):
            self.ahead.reached(max(first, step + 1 - self.num_in_flight))
            yield share
