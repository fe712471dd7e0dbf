"""Notes signals that ask a run to stop. Standard library only: it runs before torch is imported.

The handler only notes the signal. Between two steps the ranks agree, save, and leave with status
75. A second Ctrl-C stops at once. Before the first step there is nothing to save, so a thread
leaves at once: it also hears what comes while a library keeps the main thread, as handlers do not.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from ssl_swin import errors

_WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_END = b"\0"  # no signal has this number
_SHOW_CURSOR = "\x1b[?25h"
_received: list[int] = []


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _received:
        signal.default_int_handler(number, frame)
    _received.append(number)


def watch() -> None:
    """Note SIGTERM, SIGUSR1 and the first SIGINT from now on."""
    for number in _WATCHED:
        signal.signal(number, _remember)


def ignore() -> None:
    """Ignore them: for loader workers, which get the same signals as the main process."""
    for number in _WATCHED:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def as_interrupt() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, in work that another command takes up again; of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def heard_at_once(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with a signal's number, from a thread, as soon as a watched signal comes.

    One that has come before counts. Python allows it in the main thread only.
    """
    reads, writes = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writes, False)
    before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    if earlier := received():
        os.write(writes, bytes([earlier]))
    thread = threading.Thread(target=_listen, args=(reads, act), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writes, _END)  # closing is not enough: a forked process has the other end, too
        thread.join()
        os.close(writes)
        os.close(reads)


def _listen(reads: int, act: Callable[[int], None]) -> None:
    while (number := os.read(reads, 1)) != _END:
        if number[0] in _WATCHED:
            act(number[0])


def leave_at_once(number: int) -> None:
    """End this process, which has taken no step, and its children, by which thread ever."""
    show_cursor()
    with suppress(OSError):  # who reads it may have gone
        name = signal.Signals(number).name
        print(f"stopped before the first step: {name}; the same command starts again", flush=True)
    for child in children():  # also ranks that this one started
        with suppress(ProcessLookupError):
            os.kill(child, number)
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(errors.REQUEUE)


def children() -> Iterator[int]:
    """Yield the processes that this one started, by which thread ever; none where /proc is not."""
    for of_thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # that thread may have ended
            yield from map(int, of_thread.read_text().split())


def show_cursor() -> None:
    """Show the cursor of a terminal again, which a bar hides; for who leaves at once."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):  # it is closed
            if stream.isatty():
                print(_SHOW_CURSOR, end="", file=stream, flush=True)


def received() -> int:
    """Return the number of the first signal that asked the run to stop, 0 if there was none."""
    return _received[0] if _received else 0


def forget() -> None:
    """Forget the signals, in a process that runs more than one training."""
    _received.clear()
