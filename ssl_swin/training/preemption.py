"""Stops a run between two steps when a signal asks for it: the ranks agree, save, and leave."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer

from ssl_swin import signals
from ssl_swin.data.batches.batch import Batch
from ssl_swin.errors import MachineError
from ssl_swin.training.learner import Learner
from ssl_swin.training.waiting import LOOK_EVERY_S


class StartAgain(RuntimeError):
    """This life cannot begin; another start of the same command can."""


class FolderNotShared(MachineError):
    """Not all ranks find the same run folder."""


class Agreement:
    """Finds the largest of all ranks' integers while the ranks go on with the next step.

    It has a gloo group of its own, so that the exchange runs on the CPU and waits for no device.
    All ranks make this object at the same time; one waits for the others until the `timeout`.
    """

    def __init__(self, world_size: int, timeout: timedelta) -> None:
        self._group: Any = None
        if world_size > 1:
            self._group = dist.new_group(backend="gloo", timeout=timeout)
        self._values = torch.zeros(0, dtype=torch.int64)
        self._work: dist.Work | None = None

    def start(self, values: Sequence[int]) -> None:
        """Hand in this rank's integers, as many on every rank."""
        self._values = torch.tensor(values, dtype=torch.int64)
        if self._group is not None:
            highest = dist.ReduceOp.MAX
            self._work = dist.all_reduce(self._values, highest, self._group, async_op=True)

    def wait(self) -> list[int]:
        """Return the largest of what all ranks have handed in."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        return self._values.tolist()


class Meeting(Callback):
    """Tells all ranks the same before each step: whether to take it, and whether to save after it.

    Each rank hands in its word for a step once it has the batch; with loader processes that is in
    the step before, so nobody waits for the answer. A rank that waits for its batch hands in that
    it waits, again and again, so that all ranks hear a signal within `LOOK_EVERY_S` or two, and
    stop at the step that is done.

    Args:
        stop_step: The step the run ends at.
        save_every_s: Seconds between checkpoints by the clock of rank 0; 0 for none.
        timeout: How long one rank waits for the others.
        life: Number of this life, by what this rank finds in the run folder.
        begun: Is called when all ranks begin.
    """

    def __init__(
        self,
        stop_step: int,
        save_every_s: float,
        timeout: timedelta,
        life: int = 1,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self.stop_step, self.save_every_s, self.timeout = stop_step, save_every_s, timeout
        self.life, self.begun = life, begun
        self.signal = 0  # stops the run at this step; 0 for none
        self.save_due = 0  # 1 if a checkpoint is due by the clock after this step
        self._stops_here = 0  # the signal that all ranks have agreed to stop for at this step
        self._saved_at = time.monotonic()
        self._agreement = Agreement(1, timeout)
        self._handing_in = threading.Lock()
        self._pending = self._begun = False
        self._rank, self._world_size = 0, 1

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Check that all ranks begin at the same step.

        Raises:
            StartAgain: If a checkpoint was replaced while the ranks read it.
            FolderNotShared: If a rank finds a new run, where another finds one that has begun.
        """
        signals.watch()  # again, in case a library has set its own handlers
        self._rank, self._world_size = trainer.global_rank, trainer.world_size
        self._agreement = Agreement(trainer.world_size, self.timeout)
        self._agreement.start([pl_module.step, -pl_module.step, self.life, -self.life])
        last, first, latest_life, earliest_life = self._agreement.wait()
        if -earliest_life == 1 < latest_life:
            raise FolderNotShared(
                f"rank {self._rank} on {socket.gethostname()} finds {self.life - 1} earlier lives "
                f"in the run folder, another rank {'none' if self.life > 1 else latest_life - 1}: "
                "put it on a file system that all nodes share, and see that all have it mounted"
            )
        if last != -first:
            raise StartAgain(
                f"the checkpoint was replaced while it was read; ranks have steps {-first} "
                f"to {last}; the same command starts again from the newer one"
            )
        self.begun()

    def counts_after(self, step: int, every_steps: tuple[int, ...]) -> bool:
        """Return whether what steps have left on the devices is counted after this one.

        That is at each multiple of one of these numbers, 0 for none, before a checkpoint by the
        clock, and where the run ends. Where it stops is known after that: in `on_train_end`.
        """
        due = any(every and step % every == 0 for every in every_steps)
        return due or bool(self.save_due) or step == self.stop_step

    def stop_here(self, number: int) -> None:
        """Take no further step, after this signal; all ranks call it between the same two steps."""
        self._stops_here = number

    def saved(self) -> None:
        """Begin the time to the next checkpoint: one was written."""
        self._saved_at, self.save_due = time.monotonic(), 0

    def expect(self, batch: "Future[Batch]") -> None:
        """Hand in this rank's word for the next step as soon as its batch is there."""
        if self._world_size > 1:  # one process need not know before the step ends
            batch.add_done_callback(self._hand_in)

    def go_on(self, batch: "Future[Batch]") -> bool:
        """Return whether all ranks take the next step, as soon as all have their batches.

        After a signal they do not, unless it is the first of this life and all have what they need:
        so each life gets further.
        """
        while True:
            if not self._pending:
                wait([batch], LOOK_EVERY_S)
                self._hand_in(batch)
            stop, save_due, someone_waits = self._agreement.wait()
            self._pending = False
            stop = self._stops_here or stop
            if stop and (someone_waits or self._begun):
                self.signal, self._pending = stop, True  # what comes later is not handed in
                return False
            if not someone_waits:
                self.save_due, self._begun = save_due, True
                return True

    def _hand_in(self, batch: "Future[Batch]") -> None:
        """Hand in the signal, on rank 0 whether to save, and whether the batch is waited for."""
        with self._handing_in:
            if self._pending:
                return
            due = (
                self._rank == 0
                and self.save_every_s > 0
                and not self.save_due  # that one is about to be written
                and time.monotonic() - self._saved_at >= self.save_every_s
            )
            self._agreement.start([signals.received(), int(due), int(not batch.done())])
            self._pending = True
