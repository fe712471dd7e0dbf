"""What broken data may cost: seconds, address space, and one line of text."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_swin.errors import ShardError

PATIENCE_S = 30
HEADROOM_BYTES = 2**31  # of address space: a header may claim 2**40 and more


class Hang(BaseException):
    """A case took longer than anybody would wait."""


def _give_up(*_: object) -> None:
    raise Hang


@contextmanager
def limits() -> Iterator[None]:
    """No case may wait for long, or reserve memory for what a header claims."""
    status = Path("/proc/self/statm").read_text()
    used = int(status.split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def told(error: ShardError) -> str:
    """The text of an error, which must be one line."""
    assert "\n" not in str(error)
    return str(error)
