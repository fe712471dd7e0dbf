"""Calls one function on many shards, in several processes, and counts the images meanwhile."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from ssl_swin.errors import UserError
from ssl_swin.launcher import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")
_POLL_S = 0.2


def _ignored(num: int) -> None:
    pass


_count: Callable[[int], None] = _ignored  # what the images of this process are told to


def count_image() -> None:
    """Say within a job that one more image is done; ends the job if nobody wants it any more."""
    _count(1)


def each(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    num_workers: int,
    count: Callable[[int], None] = _ignored,
) -> Iterator[tuple[Job, Result]]:
    """Call a function on every job in so many processes; 1 is this process itself.

    Jobs and function are pickled, so it must be a function of a module. `count` is told how many
    more images the jobs have counted. Yields each job with what the function returned, the first to
    end first. Processes leave with this one, and soon where it is interrupted.

    Raises:
        UserError: If `num_workers` is below 1.
    """
    global _count
    if num_workers < 1:
        raise UserError(f"num_workers={num_workers} leaves nobody to work; give 1 or more")
    if min(num_workers, len(jobs)) <= 1:
        for job in jobs:
            _count = count
            try:
                result = function(job)
            finally:
                _count = _ignored
            yield job, result
        return
    # Spawned, not forked: torch and the progress bar have threads.
    context = get_context("spawn")
    counter, unwanted = context.Value("q", 0), context.Event()
    processes = ProcessPoolExecutor(
        min(num_workers, len(jobs)), context, _begin, (counter, unwanted)
    )
    with processes as pool, _followed(counter, count):
        running = {pool.submit(function, job): job for job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            unwanted.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(counter: Any, unwanted: Any) -> None:
    """Prepare a worker: Ctrl-C is for the process that started it, with which it leaves."""
    global _count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()

    def count(num: int) -> None:
        if unwanted.is_set():
            raise InterruptedError("nobody waits for this job any more")
        with counter.get_lock():
            counter.value += num

    _count = count


@contextmanager
def _followed(counter: Any, count: Callable[[int], None]) -> Iterator[None]:
    """Tell now and then what workers have counted, and at last all of it."""
    ended, seen = threading.Event(), 0

    def tell() -> None:
        nonlocal seen
        now = counter.value
        if now > seen:
            count(now - seen)
            seen = now

    def follow() -> None:
        while not ended.wait(_POLL_S):
            tell()

    thread = threading.Thread(target=follow, name="counting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()
