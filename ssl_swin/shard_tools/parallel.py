"""Calls one function on many shards, in several processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from ssl_swin.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def each(
    function: Callable[[Job], Result], jobs: Sequence[Job], num_workers: int
) -> Iterator[tuple[Job, Result]]:
    """Call a function on every job in so many processes; 1 is this process itself.

    Jobs and function are pickled, so it must be a function of a module. Yields each job with what
    the function returned, the first to end first.

    Raises:
        UserError: If `num_workers` is below 1.
    """
    if num_workers < 1:
        raise UserError(f"num_workers={num_workers} leaves nobody to work; give 1 or more")
    if min(num_workers, len(jobs)) <= 1:
        for job in jobs:
            yield job, function(job)
        return
    # Spawned, not forked: torch and the progress bar have threads.
    with ProcessPoolExecutor(min(num_workers, len(jobs)), get_context("spawn")) as pool:
        running = {pool.submit(function, job): job for job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)
