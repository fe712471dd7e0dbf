"""Commands one after the other, each once: for `quality.py` and `methods.py`, which go on later."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

STOPPED = 75


class Job(NamedTuple):
    """One command, and the file that is there once it has ended well."""

    part: str
    """Of what is to be done, by which some of it can be asked for."""
    words: tuple[str, ...]
    done: Path


class Stop:
    """What asks to stop: a signal, or the time that was given."""

    def __init__(self, minutes: float | None) -> None:
        self.until = None if minutes is None else time.monotonic() + 60 * minutes
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: object) -> None:
        self.signal = number

    def asked(self) -> bool:
        """Whether no further step is to be taken."""
        return bool(self.signal) or (self.until is not None and time.monotonic() >= self.until)


def run(job: Job, log: Path, stop: Stop) -> int:
    """Run one command; ask it to save and leave when it is time. Return its status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ssl_swin", *job.words],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to this one alone, which hands it on
        )
        told = False
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if stop.asked() and not told:
                    process.send_signal(signal.SIGTERM)
                    told = True


class Running(NamedTuple):
    """A command that has been started."""

    job: Job
    log: Path
    began: float


def finish(jobs: Sequence[Job], log: Path, stop: Stop, at_once: int = 1) -> int:
    """Run what is left of these, in their order; return the status to leave with.

    Of several at once none begins before what it needs has ended. After a failure none begins.
    """
    left = [job for job in jobs if not job.done.is_file()]
    num = len(left)
    print(f"{len(jobs)} commands, {len(jobs) - num} of them done before", flush=True)
    logs = [log, *(log.with_name(f"{log.stem}-{n}{log.suffix}") for n in range(2, at_once + 1))]
    running: dict[Future[int], Running] = {}
    status = 0
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            going_on = not stop.asked() and not status and len(running) < at_once
            if going_on and (job := _ready(left, running.values())):
                left.remove(job)
                free = next(
                    one for one in logs if one not in [each.log for each in running.values()]
                )
                print(f"[{num - len(left)}/{num}] ssl-swin {shlex.join(job.words)}", flush=True)
                future = pool.submit(run, job, free, stop)
                running[future] = Running(job, free, time.monotonic())
                continue
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ended = running.pop(future)
                status = status or _ended(ended, future.result())
                if future.result() == STOPPED:
                    left.append(ended.job)
    if (left and not status) or status == STOPPED:
        print(f"stopped: {len(left)} commands are left; the same command goes on")
        return STOPPED
    return status


def _ready(left: Sequence[Job], running: Iterable[Running]) -> Job | None:
    """Return the first command that needs nothing of those before it, and of none that runs."""
    before = [one.job for one in running]
    for job in left:
        if not any(str(one.done.parent) in job.words for one in before):
            return job
        before.append(job)
    return None


def _ended(one: Running, status: int) -> int:
    """Say how a command has ended; return the status to leave with, 0 if it is done."""
    if status == STOPPED:
        return STOPPED
    if status or not one.job.done.is_file():
        print(f"error: it ended with {status}; its words are in {one.log}", file=sys.stderr)
        return status or 1
    print(f"    {(time.monotonic() - one.began) / 60:.1f} minutes", flush=True)
    return 0
