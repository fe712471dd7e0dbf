"""One process makes what many need at once; the others wait for it, and tell.

Standard library only. The lock is the kernel's, which it takes back when a process dies. It is on a
file of a folder that all of them see, so it holds between machines where the file system knows
locks.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_swin.data.shards.user_cache import may
from ssl_swin.machine import speaks

PATIENCE_S = 600.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.01, 0.5
_TELL_EVERY_S = 30.0


class Teller:
    """Says how something goes on, now and then; one process of each machine speaks."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def due(self) -> bool:
        """Say whether it is time to speak again, and count it as done."""
        now = time.monotonic()
        if now - self._said_at < _TELL_EVERY_S:
            return False
        self._said_at = now
        return True

    def say(self, text: str) -> None:
        """Print a line."""
        if speaks():
            print(text, file=sys.stderr, flush=True)


@contextmanager
def one_maker(
    lock: Path, progress: Callable[[], str], patience_s: float = PATIENCE_S
) -> Iterator[bool]:
    """Keep other processes from making the same meanwhile; wait while another one makes it.

    Whoever comes in looks again at what is missing. It is not kept out for ever: where no lock can
    be had, or `progress` has not changed for `patience_s` seconds, it comes in beside others.

    Args:
        lock: A file that is there while somebody makes it.
        progress: Says how far another process is, in a few words.
        patience_s: Seconds without progress.

    Yields:
        Whether it is the only one.
    """
    file = _wait(lock, progress, patience_s)
    try:
        yield file is not None
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)  # while it is held: see `_take`
            os.close(file)


def place_first(unfinished: Path, path: Path) -> None:
    """Give a whole file its name, unless a readable one has it: others may have mapped that."""
    try:
        os.link(unfinished, path)
    except OSError:  # it is there, or there are no hard links here
        if not may(path, os.R_OK):
            unfinished.replace(path)
    unfinished.unlink(missing_ok=True)


def _wait(lock: Path, progress: Callable[[], str], patience_s: float) -> int | None:
    """Lock the file; None if that cannot be, or has taken too long."""
    teller, poll_s = Teller(), _FIRST_POLL_S
    seen, changed_at = "", time.monotonic()
    while True:
        try:
            return _take(lock)
        except BlockingIOError:
            pass  # another process has it
        except OSError:  # no place to write, or a file system that knows no locks
            return None
        waited_s = time.monotonic() - changed_at
        if teller.due() or waited_s > patience_s:
            if (now := progress()) != seen:
                seen, changed_at, waited_s = now, time.monotonic(), 0.0
            teller.say(f"waiting for the process that holds {lock}: {now}")
            if waited_s > patience_s:
                teller.say(f"no progress for {waited_s:.0f} s: this process goes on beside it")
                return None
        time.sleep(poll_s)
        poll_s = min(2 * poll_s, _LONGEST_POLL_S)


def _take(path: Path) -> int:
    """Open a file, made if need be, and lock it; BlockingIOError if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.lstat(path)):
            return file
        raise BlockingIOError
    except FileNotFoundError:  # its last holder has removed it
        os.close(file)
        raise BlockingIOError from None
    except OSError as error:
        os.close(file)
        if not isinstance(error, BlockingIOError):  # so nobody can hold it
            path.unlink(missing_ok=True)
        raise
