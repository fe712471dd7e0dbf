"""What a test makes a training process do at a chosen moment; runs inside that process."""

import ctypes
import errno
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.phases import Phase
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import checkpoint_file, loss_scale, watchdog
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.learner import Learner
from ssl_swin.training.pretrain import PretrainModule

LOOK_EVERY_S = 0.1
BAD = {3, 4, 5, 6, 7, 8, 9, 10, 14}  # steps, counted from 0


def send(*signals: signal.Signals) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


def at_step(step: int, act: Callable[[], Any]) -> None:
    """Act in the middle of the step that comes after `step` steps."""
    take = Learner.training_step

    def training_step(self: Learner, batch: Any, batch_idx: int) -> None:
        if self.step == step:
            act()
        take(self, batch, batch_idx)

    Learner.training_step = training_step  # type: ignore[method-assign]


def at_save(number: int, act: Callable[[Any], Any]) -> None:
    """Act in the middle of the save of this number, counted from 0; `act` gets the file."""
    save, count = torch.save, iter(range(1000))

    def interrupted(state: Any, file: Any) -> None:
        if next(count) == number:
            act(file)
        save(state, file)

    checkpoint_file.torch.save = interrupted


def at_measure(act: Callable[[], Any], kind: type[Learner] = PretrainModule) -> None:
    """Act at each held-out batch."""
    take = kind.measure

    def measure(self: Learner, batch: Any) -> Any:
        act()
        return take(self, batch)

    kind.measure = measure  # type: ignore[method-assign]


def signal_before_the_first_step(_rank: int) -> None:
    send(signal.SIGUSR1)


def signal_in_step(step: int, rank: int) -> None:
    """On the last rank alone."""
    if rank == int(os.environ.get("WORLD_SIZE", "1")) - 1:
        at_step(step, lambda: send(signal.SIGUSR1))


signal_in_step_1 = partial(signal_in_step, 1)
signal_in_step_3 = partial(signal_in_step, 3)


def signal_in_the_last_step(_rank: int) -> None:
    at_step(7, lambda: send(signal.SIGTERM))


def signal_in_validation(_rank: int) -> None:
    at_measure(lambda: send(signal.SIGUSR1))


def warned_and_killed_in_validation(_run: Path, _rank: int) -> None:
    """Killed in the second held-out batch, as by a time limit."""
    numbers = iter((signal.SIGUSR1, signal.SIGKILL))
    for kind in (PretrainModule, FinetuneModule):
        at_measure(lambda: send(next(numbers)), kind)


def warned_and_killed_while_validation_waits(run: Path, _rank: int) -> None:
    """Storage does not answer the first held-out read, until there is a checkpoint and no time."""
    read, count = ImageStream.__getitems__, iter(range(1000))

    def stalled(self: ImageStream, share: Any) -> Any:
        if next(count) == 8:
            send(signal.SIGUSR1)
            while not read_lines(run / "checkpoints.jsonl"):
                time.sleep(0.01)
            send(signal.SIGKILL)
        return read(self, share)

    ImageStream.__getitems__ = stalled  # type: ignore[method-assign]


def signal_in_a_save(_rank: int) -> None:
    at_save(0, lambda _file: send(signal.SIGUSR1))


def more_signals_in_the_save(rank: int) -> None:
    signal_in_step_3(rank)
    many = (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1)

    def act(_file: Any) -> None:
        for _ in range(5):
            send(*many)
            time.sleep(0.02)

    at_save(1, act)


def kill_in_the_second_save(_rank: int) -> None:
    def act(file: Any) -> None:
        file.write(b"PK\x03\x04 half a checkpoint")
        file.flush()
        send(signal.SIGKILL)

    at_save(1, act)


def fail_in_step_3(rank: int) -> None:
    """On rank 1 alone, while the others wait for it to take the step with them."""

    def fail() -> None:
        raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))

    if rank == 1:
        at_step(3, fail)


def hang_in_step_3(rank: int) -> None:
    """On rank 1 alone."""

    def where_it_hangs() -> None:
        time.sleep(600)

    if rank == 1:
        at_step(3, where_it_hangs)


def hang_with_the_lock_in_step_3(_rank: int) -> None:
    """As a library does that never gives Python's lock back."""
    at_step(3, lambda: ctypes.PyDLL(None).sleep(600))


def stop_itself_in_step_3(_rank: int) -> None:
    """As a suspended job's processes."""
    at_step(3, lambda: send(signal.SIGSTOP))


def state_of(pid: int) -> str:
    """Return a process's state as one letter; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stall_in_the_third_read(marker: Path, rank: int) -> None:
    """On the last rank alone, in each process that reads, as storage that does not answer."""
    if rank == int(os.environ.get("WORLD_SIZE", "1")) - 1:
        read, count = ImageStream.__getitems__, iter(range(1000))

        def stalled(self: ImageStream, share: Any) -> Any:
            if next(count) == 2:
                marker.touch()
                time.sleep(600)
            return read(self, share)

        ImageStream.__getitems__ = stalled  # type: ignore[method-assign]


def stall_in_phase(phase: str, marker: Path, dry_run: bool, _rank: int) -> None:
    """Stand still where this phase begins, as in a library that waits."""
    begin = Phase.begin

    def stalled(self: Phase) -> None:
        begin(self)
        if self.doing == phase and not marker.exists():
            marker.touch()
            time.sleep(600)

    Phase.begin = stalled  # type: ignore[method-assign]
    if dry_run:
        from ssl_swin.runs import describe, life

        describe.STEPS_S = describe.LOADER_S = 0.01
        life.run = partial(life.run, dry_run=True)


def never_begin(rank: int) -> None:
    """Rank 1 is not there; the others wait for it in a library when they are signalled."""
    if rank == 1:
        os._exit(0)
    threading.Timer(5, send, [signal.SIGUSR1]).start()


def hang_and_look_often(_rank: int) -> None:
    watchdog.LOOK_EVERY_S = LOOK_EVERY_S
    at_step(4, lambda: time.sleep(600))


def slow_measure(_rank: int) -> None:
    at_measure(lambda: time.sleep(0.25))


def wait_for_the_next_life(run: Path, _rank: int) -> None:
    watchdog.LOOK_EVERY_S = 600.0  # the look before a file is put in place is what counts

    def wait() -> None:
        while len(read_lines(run / "lives.jsonl")) < 2:
            time.sleep(0.01)

    at_step(5, wait)


def reading(read: Callable[[Path], Any]) -> None:
    from ssl_swin.runs import build

    build.find_start = partial(build.find_start, read=read)  # type: ignore[assignment]


def read_the_previous_one(rank: int) -> None:
    """On rank 1 alone: as if the checkpoint had been replaced between two reads."""
    if rank == 1:
        reading(lambda path: checkpoint_file.read_checkpoint(path.with_name("previous.ckpt")))


def find_no_run(rank: int) -> None:
    """On rank 1 alone: as if the run folder's file system were not mounted on its node."""
    if rank == 1:
        from ssl_swin.runs import resume

        resume.RunFolder = lambda root: RunFolder(root / "mount-point")  # type: ignore[assignment]


def read_a_damaged_one(rank: int) -> None:
    """On rank 0 alone, which then passes the last checkpoint over."""

    def read_all_but_the_last(path: Path) -> Any:
        if path.name == "last.ckpt":
            raise checkpoint_file.DamagedCheckpoint(f"{path} cannot be read here")
        return checkpoint_file.read_checkpoint(path)

    if rank == 0:
        reading(read_all_but_the_last)


def not_finite_in(steps: set[int], rank: int) -> None:
    """The second micro-batch of the last rank alone; the loss, while the gradient is finite."""
    if rank < int(os.environ.get("WORLD_SIZE", "1")) - 1:
        return
    take, places = PretrainModule.loss, itertools.count()

    def loss(self: PretrainModule, micro: Any) -> torch.Tensor:
        place = next(places) % self.schedule.num_micro_batches
        bad = self.step in steps and place == 1
        return take(self, micro) + (float("inf") if bad else 0.0)

    PretrainModule.loss = loss  # type: ignore[method-assign]


def loss_scale_that_overflows(_rank: int) -> None:
    """Begin with the largest, so that it is halved step by step, and let it grow again soon."""
    loss_scale.INITIAL, loss_scale.GROWS_AFTER = loss_scale.LARGEST, 1


def killed_while_it_measures(_rank: int) -> None:
    """After the warning that comes in the second batch, in the fifth."""
    take, count = PretrainModule.measure, itertools.count()

    def measure(self: PretrainModule, batch: Any) -> Any:
        number = next(count)
        if number == 1:
            send(signal.SIGUSR1)
        if number == 4:
            send(signal.SIGKILL)
        return take(self, batch)

    PretrainModule.measure = measure  # type: ignore[method-assign]
