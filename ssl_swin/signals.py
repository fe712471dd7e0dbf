"""Notes signals that ask a run to stop. Standard library only: it runs before torch is imported.

The handler only notes the signal. Between two steps the ranks agree, save, and leave with status
75. A second Ctrl-C stops at once.
"""

import signal
from types import FrameType

_received: list[int] = []


class Stopped(Exception):
    """The run was asked to stop while it waited for something, before its first step."""


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _received:
        signal.default_int_handler(number, frame)
    _received.append(number)


def watch() -> None:
    """Note SIGTERM, SIGUSR1 and the first SIGINT from now on."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, _remember)


def ignore() -> None:
    """Ignore them: for loader workers, which get the same signals as the main process."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def received() -> int:
    """Return the number of the first signal that asked the run to stop, 0 if there was none."""
    return _received[0] if _received else 0


def require_none() -> None:
    """Raise `Stopped` if the run was asked to stop."""
    if number := received():
        raise Stopped(f"signal {signal.Signals(number).name}")


def forget() -> None:
    """Forget the signals, in a process that runs more than one training."""
    _received.clear()
