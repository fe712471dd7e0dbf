"""The errors of this program, and the exit statuses they lead to. Standard library only.

A `UserError` is the user's to mend: one line, status 2. Everything else is status 1, for starting
again may help: what a machine, a disk or a network did is a `MachineError` where one line can say
it; whatever is neither, of a library or a bug of ours, keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Exit statuses of a training, beside 0.
FAILED = 1  # machine, network or storage failed, or there is a bug; starting again may help
USER_ERROR = 2  # the command, the config or the data; starting again would fail again
LOST = 3  # a newer life has the run folder; if both started again, they would take turns
REQUEUE = 75  # it was asked to stop, has saved, and wants to be started again

# Of every other command that prints: what shells say of a program that SIGPIPE ended.
READER_GONE = 141  # nobody reads what it prints any more, as after `| head -1`

_UNUSABLE = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)


class UserError(ValueError):
    """What the user can mend; its text is one line: what was given, what is allowed, what to do."""


class ShardError(UserError):
    """Shards that are missing, damaged, or not as they were indexed."""


class MachineError(OSError):
    """What a machine, its storage or its network did; its text is one line: what, and what next."""


class RemoteError(MachineError):
    """A remote file that cannot be read, because network or storage fail and not the shard."""


@contextmanager
def usable(what: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Make one line of a path that is not there, or may not be used; `what` names it as given.

    For the door, where a path comes from the user; a file that vanishes later is the storage's.
    """
    try:
        yield
    except (*_UNUSABLE, PermissionError) as error:
        place = f" ({error.filename})" if error.filename else ""
        raise kind(f"{what}: {error.strerror or error}{place}") from error


@contextmanager
def naming(given: str) -> Iterator[None]:
    """As `usable`; and let what else the user can mend say the setting `given`, as `init=x.pth`."""
    try:
        with usable(given):
            yield
    except UserError as error:
        if f"{given.partition('=')[0]}=" in str(error):
            raise
        raise type(error)(f"{given}: {error}") from error


def one_line(error: BaseException) -> str:
    """Return what an error says, as one line: a loader worker's words without torch's wrapping."""
    lines = str(error).strip().splitlines() or [""]
    if "DataLoader worker" in lines[0] and len(lines) > 1:  # the last line is CLASS: WORDS
        return lines[-1].partition(": ")[2]
    return " ".join(lines)


def exit_status(error: BaseException) -> int:
    """Return the status that an error leads to."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return USER_ERROR if isinstance(error, UserError) else FAILED


def nearest(name: str, known: Iterable[str], before: str = "") -> str:
    """Return a hint: what goes before a name, and the known one most like this; or nothing."""
    by_end = {candidate.rpartition(".")[2]: candidate for candidate in known}
    close = difflib.get_close_matches(name, known, 1) or [
        by_end[end] for end in difflib.get_close_matches(name.rpartition(".")[2], by_end, 1)
    ]
    return f"; did you mean {before}{close[0]}?" if close else ""
