"""Ends a process that hangs, or whose run folder a newer life has claimed.

A thread watches. It cannot run while a library keeps Python's lock, and it hangs with the file
system. So it sets a timer of faulthandler, which needs neither, again and again.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from ssl_swin import errors
from ssl_swin.record.owner import Ownership
from ssl_swin.training.learner import Learner

LOOK_EVERY_S = 10.0  # a life that lost its run folder ends within so many seconds
STDERR = 2

_beaten_at = time.monotonic()


def beat() -> None:
    """Tell the watchdog that a step, a held-out batch or a save is done."""
    global _beaten_at
    _beaten_at = time.monotonic()


class Watchdog(Callback):
    """Ends the process when nothing gets done for too long, or the run folder is lost.

    Args:
        timeout_s: Longest time between two beats; 0 for no limit.
        stacks: Rank -> file that gets the stacks of its threads.
        ownership: The claim to the run folder.
        record: Writes down why this life ends: reason and exit status.
    """

    def __init__(
        self,
        timeout_s: float,
        stacks: Callable[[int], Path],
        ownership: Ownership,
        record: Callable[[str, int], int],
    ) -> None:
        self.timeout_s, self.stacks = timeout_s, stacks
        self.ownership, self.record = ownership, record
        self.every_s = min(LOOK_EVERY_S, timeout_s / 8 or LOOK_EVERY_S)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Begin to watch."""
        beat()
        self._set_timer(self.timeout_s)
        self._thread = threading.Thread(
            target=self._watch, args=(trainer.global_rank,), name="watchdog", daemon=True
        )
        self._thread.start()

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
            self._thread.join()
            self._thread = None

    def _watch(self, rank: int) -> None:
        while not self._over.wait(self.every_s):
            self._set_timer(self.timeout_s)
            if self.ownership.is_lost():
                print(f"error: {self.ownership.describe_loss()}", file=sys.stderr, flush=True)
                self.record("lost ownership", errors.LOST)
                os._exit(errors.LOST)
            idle_s = time.monotonic() - _beaten_at
            if self.timeout_s and idle_s > self.timeout_s:
                self._time_out(rank, idle_s)
        faulthandler.cancel_dump_traceback_later()

    def _set_timer(self, seconds: float) -> None:
        if self.timeout_s:
            faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    def _time_out(self, rank: int, idle_s: float) -> None:
        faulthandler.dump_traceback(file=STDERR)
        grace_s = 4 * self.every_s
        self._set_timer(2 * grace_s)  # the disk may hang
        path = self.stacks(rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file=file)
        print(
            f"error: rank {rank}: no step for {idle_s:.0f} s (training.step_timeout_s="
            f"{self.timeout_s:g}); {path} says where it hung; the same command goes on from the "
            "last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        self.record("step time-out", 1)
        time.sleep(grace_s)  # the other ranks wait for this one; let them write their stacks, too
        os._exit(1)
