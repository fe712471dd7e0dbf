"""The errors of this program, and the exit statuses they lead to. Standard library only."""

# Exit statuses of a training, beside 0.
FAILED = 1  # machine, network or storage failed, or there is a bug; starting again may help
USER_ERROR = 2  # the command, the config or the data; starting again would fail again
LOST = 3  # a newer life has the run folder; if both started again, they would take turns
REQUEUE = 75  # it was asked to stop, has saved, and wants to be started again

_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class UserError(ValueError):
    """What the user can mend; its text is one line: what was given, what is allowed, what to do."""


class ShardError(UserError):
    """Shards that are missing, damaged, or not as they were indexed."""


class RemoteError(ShardError, OSError):
    """A remote file that cannot be read, because network or storage fail and not the shard."""


def exit_status(error: BaseException) -> int:
    """Return the status that an error leads to."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError):
        return USER_ERROR if isinstance(error, _NOT_THERE) else FAILED
    return USER_ERROR if isinstance(error, ValueError) else FAILED
