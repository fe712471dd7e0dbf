"""Tells of work that may take long: that it goes on, how far it is, and how long it took.

Standard library only: it runs before torch is imported.
"""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, TextIO

from ssl_swin.launcher import is_rank_0

FIRST_S, EVERY_S = 4.0, 30.0  # what is over before the first is no news


def duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"


class Phase:
    """Says what a run does if that takes long: after a few seconds, and then now and then.

    Only rank 0 speaks, on stderr, from a thread: the work may keep the main thread in a library.
    It lasts as long as a `with`, or from `begin` to `end`.

    Args:
        doing: What is done, as "opening shards"; it may be changed meanwhile.
        far: Says how far it is, in few words.
    """

    def __init__(self, doing: str, far: Callable[[], str] = lambda: "") -> None:
        self.doing, self.far = doing, far
        self._began, self._over = time.monotonic(), threading.Event()
        self._told = 0

    def begin(self) -> None:
        """Begin; only once."""
        self._began = time.monotonic()
        if is_rank_0():
            threading.Thread(target=self._tell, name="phase", daemon=True).start()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def end(self) -> None:
        """Be over; say how long it took, if it was said that it takes long."""
        if self._told and not self._over.is_set():
            tell(f"{self.doing} took {duration(self.seconds)}", sys.stderr)
        self.stop()

    def stop(self) -> None:
        """Be over without a word."""
        self._over.set()

    def __enter__(self) -> "Phase":
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.end()
        self.stop()

    def _tell(self) -> None:
        while not self._over.wait(max(0.0, self._next_s() - self.seconds)):
            self._told += 1
            far = self.far()
            tell(f"{self.doing} ... {duration(self.seconds)}{far and f', {far}'}", sys.stderr)

    def _next_s(self) -> float:
        return EVERY_S * self._told or FIRST_S


def without_bar(doing: str, far: Callable[[], str] = lambda: "") -> AbstractContextManager[Any]:
    """Tell as a `Phase` does, unless stdout is a terminal, which is shown a bar instead."""
    return nullcontext() if sys.stdout.isatty() else Phase(doing, far)


def tell(line: str, file: TextIO | None = None) -> None:
    """Print a line at once, for logs are read while they are written; on stdout, if not elsewhere.

    That who reads it has gone, as a `tee` that died, is no reason for work to stop.
    """
    with suppress(OSError):
        print(line, file=file, flush=True)


def say_nothing(line: str) -> None:
    """Take the place of `tell` where another process says it."""
