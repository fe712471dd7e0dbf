"""Ends a command at once after Ctrl-C or SIGTERM, whatever it waits for, and says what is saved."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from ssl_swin import signals
from ssl_swin.errors import REQUEUE
from ssl_swin.launcher import is_rank_0


@contextmanager
def stops_at_once(describe: Callable[[], str]) -> Iterator[None]:
    """Leave with status 75 as soon as a signal comes; `describe` says in one line what is left.

    It is called in another thread, and may wait until what is being written is written.
    """
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    signals.watch()
    try:
        with signals.heard_at_once(partial(_leave, describe)):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(describe: Callable[[], str], number: int) -> None:
    signals.show_cursor()
    line = f"stopped by {signal.Signals(number).name}: {describe()}"
    if is_rank_0():
        with suppress(OSError):  # who reads it may have gone
            print(line, file=sys.stderr, flush=True)
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(REQUEUE)
