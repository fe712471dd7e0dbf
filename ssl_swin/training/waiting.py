"""Takes batches from a loader in a thread, so that who waits for one can hear signals meanwhile."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, Protocol

from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import Batch

LOOK_EVERY_S = 0.5  # between two looks for a signal while a batch is waited for


class Meets(Protocol):
    """Says whether the next batch is to be used."""

    def expect(self, batch: "Future[Batch]") -> None:
        """Note which batch is on its way."""

    def go_on(self, batch: "Future[Batch]") -> bool:
        """Wait until the batch is there, or is not needed any more; return whether it is used."""


class Moves(Protocol):
    """Moves batches to where they are used, beside what is computed there."""

    def begin(self, batch: Batch) -> Any:
        """Begin, in the thread that took the batch."""

    def end(self, copy: Any) -> Batch:
        """Return the batch of what `begin` returned, for use."""


class Batches:
    """The batches of a loader, each handed on once the meeting says so; ends early if it does not.

    With loader processes the next batch is on its way while one is used. Without, it is read only
    while it is waited for, because then reading may share its caches with what this process does.
    With `copies` it is moved, as soon as it is there.
    """

    def __init__(self, loader: DataLoader, meeting: Meets, copies: Moves | None = None) -> None:
        self.loader, self.meeting, self.copies = loader, meeting, copies
        self._taker: _Taker | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        ahead = self.loader.num_workers > 0
        # kept until `close`: to let go of it may take long
        taker = self._taker = _Taker(self.loader, self.copies)
        coming = None
        for left in reversed(range(len(self.loader))):
            coming = coming or self._ask(taker)
            if not self.meeting.go_on(coming):
                return
            batch = self.copies.end(coming.result()) if self.copies else coming.result()
            coming = self._ask(taker) if ahead and left else None
            yield batch
            del batch  # before the next one comes

    def close(self) -> None:
        """End the loader processes at once, also those that wait for storage."""
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.close()

    def _ask(self, taker: "_Taker") -> "Future[Batch]":
        coming = taker.ask()
        self.meeting.expect(coming)
        return coming


def patiently(loader: DataLoader, look: Callable[[], None]) -> Iterator[Batch]:
    """Yield the batches of a loader; `look` is called after each, and while one is waited for."""
    taker = _Taker(loader, None)
    try:
        for _ in range(len(loader)):
            coming = taker.ask()
            while not coming.done():
                wait([coming], LOOK_EVERY_S)
                look()
            yield coming.result()
            look()
    finally:
        taker.close()


class _Taker:
    """A thread that takes batches when it is asked to."""

    def __init__(self, loader: DataLoader, copies: Moves | None) -> None:
        self._copies = copies
        others = multiprocessing.active_children()
        self._batches = iter(loader)
        self._processes = [p for p in multiprocessing.active_children() if p not in others]
        self._asked: SimpleQueue[Future[Batch] | None] = SimpleQueue()
        # A daemon, since the process may leave while storage does not answer.
        threading.Thread(target=self._run, name="batches", daemon=True).start()

    def ask(self) -> "Future[Batch]":
        """Ask for the next batch."""
        coming: Future[Batch] = Future()
        self._asked.put(coming)
        return coming

    def close(self) -> None:
        """End the thread, once it has what it was asked for, and the loader processes."""
        self._asked.put(None)
        heard = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take it for an accident
        try:
            for process in self._processes:
                process.kill()
            for process in self._processes:
                process.join()
            del self._batches
        finally:
            signal.signal(signal.SIGCHLD, heard)

    def _run(self) -> None:
        batches, copies = self._batches, self._copies
        while (coming := self._asked.get()) is not None:
            try:
                batch = next(batches)
                coming.set_result(copies.begin(batch) if copies else batch)
                del batch
            except BaseException as error:  # who waits raises it
                coming.set_exception(error)
            del coming
