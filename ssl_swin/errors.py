"""What can go wrong, and the exit status that it leads to. Standard library only."""

# Exit statuses of a training, beside 0.
FAILED = 1  # the machine, the network or the storage, as far as one can tell; or a bug
USER_ERROR = 2  # of the command or the config; started again, it would fail again
LOST = 3  # a newer life has taken the run over; started again, they would take turns
REQUEUE = 75  # it stopped early, saved, and wants to be started again

_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class UserError(ValueError):
    """What the user can mend: its text is one line that says what was given and what to do."""


class ShardError(UserError):
    """Shards that are missing, damaged, or not as they were indexed."""


class RemoteError(ShardError, OSError):
    """A remote file that cannot be had: the network's or the storage's fault, not the shard's."""


def exit_status(error: BaseException) -> int:
    """Return the status that an error leads to."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError):
        return USER_ERROR if isinstance(error, _NOT_THERE) else FAILED
    return USER_ERROR if isinstance(error, ValueError) else FAILED
