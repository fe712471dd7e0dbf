"""Commands one after the other, each once: for `quality.py` and `methods.py`, which go on later."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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


def finish(jobs: Sequence[Job], log: Path, stop: Stop) -> int:
    """Run what is left of these, one after the other; return the status to leave with."""
    left = [job for job in jobs if not job.done.is_file()]
    print(f"{len(jobs)} commands, {len(jobs) - len(left)} of them done before", flush=True)
    for number, job in enumerate(left, 1):
        if stop.asked():
            print(f"stopped: {len(left) - number + 1} commands are left; the same command goes on")
            return STOPPED
        began = time.monotonic()
        print(f"[{number}/{len(left)}] ssl-swin {shlex.join(job.words)}", flush=True)
        status = run(job, log, stop)
        if status == STOPPED:
            print(f"stopped: {len(left) - number + 1} commands are left; the same command goes on")
            return STOPPED
        if status or not job.done.is_file():
            print(f"error: it ended with {status}; its words are in {log}", file=sys.stderr)
            return status or 1
        print(f"    {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return 0
