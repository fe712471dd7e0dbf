"""Sets the stop flag; standard library only, because it must run before anything heavy is imported.

A handler only sets a flag: the ranks agree on it at a step boundary, save, and leave with code 75.
A second Ctrl-C stops at once.
"""

import signal
from types import FrameType

_received: list[int] = []


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _received:
        signal.default_int_handler(number, frame)
    _received.append(number)


def watch() -> None:
    """Turn SIGTERM, SIGUSR1 and the first SIGINT into a flag."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, _remember)


def ignore() -> None:
    """Let the main process decide: for loader workers, which get the same signals."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def received() -> int:
    """Return the number of the first signal that asked the run to stop, 0 if there was none."""
    return _received[0] if _received else 0


def forget() -> None:
    """Clear the flag, for a process that runs more than one training."""
    _received.clear()
