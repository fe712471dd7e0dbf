"""Starts the processes of a run on this machine, where no launcher does, and ends as the run does.

This process trains nothing and imports no torch. It hands signals on, notices a rank that dies,
ends those that would wait for it for ever, and leaves with the run's status.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial

from ssl_swin import errors, signals
from ssl_swin.launcher import SAID, STARTED_BY, end_with_parent

PATIENCE_S = 20.0  # after a failure, for the others to notice and to say where they were
LEAVING_S = 150.0  # after the end or a stop; processes leave by themselves within 120 s
STOP_S = 5.0  # after a second Ctrl-C
_ASK = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_STOPPED = 130  # by a second Ctrl-C
_KNOWN = (errors.FAILED, errors.USER_ERROR, errors.LOST, errors.REQUEUE, _STOPPED)


def run_ranks(words: list[str], devices: int, num_nodes: int = 1, end_together: bool = True) -> int:
    """Run a command of `ssl-swin` in `devices` processes and return the status of the run.

    Of several machines each is started by hand, with the variables that `allocation` asks for. If
    they do not `end_together`, one that has succeeded leaves the others all the time they need.

    Returns:
        0 if it finished; else what the first process to leave without success ended with, 1 if it
        died. One that ended by a signal that it could not hear yet was asked to stop: 75.
    """
    if signals.received():
        return errors.REQUEUE
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_ASK, signal.SIGCHLD})
    try:
        with tempfile.TemporaryDirectory(prefix="ssl-swin-") as said:
            shared = _shared_variables(devices, num_nodes) | {SAID: said}
            prepare = partial(_prepare, os.getpid(), before)
            return _Ranks(_command(words), devices, shared, prepare, end_together).wait()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _command(words: list[str]) -> list[str]:
    """Return how this program was started, with other words."""
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])]
    return [sys.executable, *program, *words]


def _shared_variables(devices: int, num_nodes: int) -> dict[str, str]:
    shared = {STARTED_BY: str(os.getpid()), "WORLD_SIZE": str(devices * num_nodes)}
    if num_nodes == 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0"}
    if "MASTER_PORT" not in os.environ:
        shared["MASTER_PORT"] = str(_free_port())
    return shared


def _free_port() -> int:
    """Return a port that is free, of those that systems give to nobody unasked."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10_000, 30_000)))
            except OSError:
                continue
            return probe.getsockname()[1]


def _prepare(parent: int, mask: Iterable[int]) -> None:
    """In a rank, before its program begins: hear signals, and that the parent is gone."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it can save; the parent sends SIGTERM
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if os.getppid() != parent:
        os._exit(errors.REQUEUE)


class _Ranks:
    """The processes of one run, while signals to this one are held back for `wait`."""

    def __init__(
        self,
        command: list[str],
        devices: int,
        shared: dict[str, str],
        prepare: Callable[[], None],
        end_together: bool,
    ) -> None:
        first = int((os.environ | shared)["NODE_RANK"]) * devices
        self.processes = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"LOCAL_RANK": str(rank), "RANK": str(first + rank)},
                preexec_fn=prepare,
            )
            for rank in range(devices)
        ]
        self._left: dict[int, int] = {}  # rank -> what it ended with
        self._decided = 0  # the run's status, once a rank has left without success
        self._asked = self._at_once = self._killed = False
        self._deadline = float("inf")
        self._end_together = end_together

    def wait(self) -> int:
        """Wait until all have left; return the status."""
        while len(self._left) < len(self.processes):
            found = signal.sigtimedwait({*_ASK, signal.SIGCHLD}, 1.0)
            if found is not None and found.si_signo in _ASK:
                self._hand_on(signal.Signals(found.si_signo))
            self._look()
            if time.monotonic() > self._deadline:
                self._killed = True
                self._send(signal.SIGKILL)
        if self._killed and self._at_once:
            return _STOPPED
        return 0 if self._left[0] == 0 else self._decided

    def _hand_on(self, number: signal.Signals) -> None:
        """Ask all ranks to stop. Ctrl-C reaches them, too, and twice would be at once."""
        if self._asked and number == signal.SIGINT:
            self._at_once = True
            self._deadline = min(self._deadline, time.monotonic() + STOP_S)
        self._asked = True
        self._send(signal.SIGTERM if number == signal.SIGINT else number)

    def _look(self) -> None:
        """See who has left, and what follows for the others."""
        new = {
            rank: process.returncode
            for rank, process in enumerate(self.processes)
            if rank not in self._left and process.poll() is not None
        }
        self._left |= new
        for rank, code in new.items():
            if code < 0 and not self._killed and self._status(code) == errors.FAILED:
                name = signal.Signals(-code).name
                print(f"error: rank {rank} was ended by {name}", file=sys.stderr, flush=True)
        statuses = [self._status(code) for code in new.values()]
        if not statuses or not (self._end_together or any(statuses)):
            return
        failed = [status for status in statuses if status not in (0, errors.REQUEUE)]
        if self._decided == 0:
            self._decided = max(failed or statuses)
        patience_s = PATIENCE_S if failed else LEAVING_S
        self._deadline = min(self._deadline, time.monotonic() + patience_s)
        if errors.REQUEUE in statuses and not self._asked:  # one that heard a signal alone
            self._hand_on(signal.SIGTERM)

    def _status(self, code: int) -> int:
        """Return the status of the run that a rank's end stands for."""
        if code < 0 and self._asked and -code in _ASK:
            return errors.REQUEUE  # its program had not begun
        return code if code in (0, *_KNOWN) else errors.FAILED

    def _send(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)
