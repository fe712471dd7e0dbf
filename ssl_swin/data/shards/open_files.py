"""How many files of shards a process may keep open."""

import resource
from contextlib import suppress

_OTHERS = 256  # files left to the rest of a process: batches on their way, sockets, logs


def allow_open(wanted: int) -> int:
    """Return how many of the wanted files this process, and those it will start, may keep open.

    Where the soft limit of open files is too low for them, it is raised as far as the hard one
    allows. At least half of the limit counts as free for shards.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + _OTHERS:
        allowed = wanted + _OTHERS
        allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - _OTHERS, soft // 2))
