"""Sets the stop flag; standard library only, because it must run before anything heavy is imported.

A handler only sets a flag: the ranks agree on it at a step boundary, save, and leave with code 75.
A second Ctrl-C stops at once.
"""

import signal
from types import FrameType

# Exit statuses of a training, beside 0.
FAILED = 1  # the machine, the network or the storage, as far as one can tell; or a bug
USER_ERROR = 2  # of the command or the config; started again, it would fail again
LOST = 3  # a newer life has taken the run over; started again, they would take turns
REQUEUE = 75  # it stopped early, saved, and wants to be started again

_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

_received: list[int] = []


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _received:
        signal.default_int_handler(number, frame)
    _received.append(number)


def exit_status(error: BaseException) -> int:
    """Return the status that an error leads to."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError):
        return USER_ERROR if isinstance(error, _NOT_THERE) else FAILED
    return USER_ERROR if isinstance(error, ValueError) else FAILED


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
