"""Ends a process that hangs, or whose run folder a newer life has claimed.

A thread watches. It cannot run while a library keeps Python's lock, and it hangs with the file
system. So it winds up a timer that needs neither, again and again.
"""

import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ssl_swin import errors
from ssl_swin.phases import tell
from ssl_swin.training.last_resort import LastResort
from ssl_swin.training.learner import Learner
from ssl_swin.training.life_record import LifeRecord

LOOK_EVERY_S = 10.0  # a life that lost its run folder ends within so many seconds
START_TIMEOUT_S = 1800.0  # longest time that ranks may need to find each other, and to build
STDERR = 2

_beaten_at = time.monotonic()


def beat() -> None:
    """Tell the watchdog that a step, a held-out batch or a save is done."""
    global _beaten_at
    _beaten_at = time.monotonic()


def _shift(seconds: float) -> None:
    """Leave out time in which nothing could be done."""
    global _beaten_at
    _beaten_at = min(_beaten_at + seconds, time.monotonic())


class Watchdog(Callback):
    """Ends the process when nothing gets done for too long, or the run folder is lost.

    Time in which the process was suspended does not count: the thread sees that its own wait took
    longer than it should.

    Args:
        timeout_s: Longest time between two beats; 0 for no limit. The start may take
            `START_TIMEOUT_S`, if that is longer.
        record: Knows the owner of the run folder, and writes down why this life ends.
    """

    def __init__(self, timeout_s: float, record: LifeRecord) -> None:
        self.timeout_s, self.record = timeout_s, record
        self.every_s = min(LOOK_EVERY_S, timeout_s / 8 or LOOK_EVERY_S)
        self.rank = rank_zero_only.rank
        self._limit_s = max(timeout_s, START_TIMEOUT_S) if timeout_s else 0.0
        self._last_resort = LastResort() if timeout_s else None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        beat()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """From now on steps are waited for."""
        beat()
        self.rank, self._limit_s = trainer.global_rank, self.timeout_s
        self._wind_up(self._limit_s)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """The loader does not hang."""
        beat()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """The step does not hang."""
        beat()

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(self.every_s)  # it may stand in a file system that hangs
            self._thread = None
        if self._last_resort is not None:
            self._last_resort.cancel()

    def _watch(self) -> None:
        while not self._waited():
            self._wind_up(self._limit_s)
            if self.record.ownership.is_lost():
                tell(f"error: {self.record.ownership.describe_loss()}", sys.stderr)
                self.record.end("lost ownership", errors.LOST)
                os._exit(errors.LOST)
            if self.record.ownership.is_gone():
                absence = self.record.ownership.describe_absence()
                tell(f"error: {absence}", sys.stderr)
                os._exit(errors.FAILED)
            idle_s = time.monotonic() - _beaten_at
            if self._limit_s and idle_s > self._limit_s:
                self._time_out(idle_s)

    def _waited(self) -> bool:
        """Wait for the next look; return whether to stop. Note how long the process stood still."""
        began = time.monotonic()
        over = self._over.wait(self.every_s)
        overrun_s = time.monotonic() - began - self.every_s
        if overrun_s > self.every_s and not over:
            _shift(overrun_s)
            self.record.suspended_s += overrun_s
            tell(
                f"rank {self.rank}: stood still for {overrun_s:.0f} s (a suspended job?); goes on",
                sys.stderr,
            )
        return over

    def _wind_up(self, seconds: float) -> None:
        if self._last_resort is not None:
            self._last_resort.wind_up(seconds, 4 * self.every_s)

    def _time_out(self, idle_s: float) -> None:
        faulthandler.dump_traceback(file=STDERR)
        grace_s = 4 * self.every_s
        self._wind_up(2 * grace_s)  # the disk may hang
        path = self.record.folder.stacks(self.rank)
        tell(
            f"error: rank {self.rank}: no step for {idle_s:.0f} s (training.step_timeout_s="
            f"{self.timeout_s:g}); {path} says where it hung; the same command goes on from the "
            "last checkpoint",
            sys.stderr,
        )
        with suppress(OSError):  # the stacks are on stderr, too
            path.parent.mkdir(exist_ok=True)
            with path.open("w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file=file)
        self.record.end("step time-out", errors.FAILED)
        time.sleep(grace_s)  # the other ranks wait for this one; let them write their stacks, too
        os._exit(errors.FAILED)
