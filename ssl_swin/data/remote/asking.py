"""Asks remote places through fsspec, a few times each, and says in one line why nothing comes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from fsspec.core import url_to_fs

from ssl_swin.data.remote.urls import is_http, shown
from ssl_swin.data.shards.retry import Answer, Retry
from ssl_swin.errors import RemoteError, ShardError

_TRANSIENT = (408, 425, 429)  # client errors that pass by themselves

# fsspec drops its filesystems in a forked process. A dropped one closes its connections through the
# event loop that it shares with its parent, and the parent then waits in vain. So they are kept.
_kept: dict[int, Any] = {}


class NotThere(RemoteError):
    """Nothing is at a URL, or nothing that may be read."""


class FailedTry(Exception):
    """One try failed: `final` if all others will, `missing` if nothing is there to be read."""

    def __init__(self, reason: str, final: bool = False, missing: bool = False) -> None:
        super().__init__(reason)
        self.final, self.missing = final or missing, missing


def filesystem(url: str, retry: Retry) -> tuple[Any, str]:
    """Return fsspec's filesystem for a URL, with the credentials of the environment, and the path.

    Raises:
        ShardError: If fsspec knows no such filesystem, or its package is missing.
    """
    options: dict[str, Any] = {"use_listings_cache": False}
    if is_http(url):
        from aiohttp import ClientTimeout  # late, for speed: other storage does without

        stalled = retry.stalled_s
        options["timeout"] = ClientTimeout(total=None, sock_connect=stalled, sock_read=stalled)
    try:
        system, path = url_to_fs(url, **options)
    except ImportError as error:
        text = f"{error}; or install ssl-swin[s3], ssl-swin[gs] or ssl-swin[hf]"
        raise ShardError(f"{shown(url)} needs a package that is not here: {text}") from error
    except ValueError as error:
        raise ShardError(f"{shown(url)}: {error}; give a URL that fsspec reads") from error
    _kept[id(system)] = system
    return system, path


@contextmanager
def asking(url: str) -> Iterator[None]:
    """Turn whatever a filesystem raises into `FailedTry`."""
    try:
        yield
    except (FailedTry, RemoteError, ShardError):
        raise
    except Exception as error:  # filesystems' errors have no base in common; none of them is lost
        raise _failure(url, error) from error


def _failure(url: str, error: Exception) -> FailedTry:
    # fsspec calls every failed look-up by HTTP a missing file; the cause says what it was.
    if isinstance(error, FileNotFoundError) and is_http(url) and error.__cause__ is not None:
        error = cast(Exception, error.__cause__)
    status = _status(error)
    if status in (404, 410) or (isinstance(error, FileNotFoundError) and status is None):
        return FailedTry(f"{shown(url)} does not exist", missing=True)
    if status in (401, 403) or isinstance(error, PermissionError):
        text = "may not be read; give credentials where fsspec looks for them, in the environment"
        return FailedTry(f"{shown(url)} {text}", missing=True)
    if status is not None:
        message = getattr(error, "message", "")
        final = 400 <= status < 500 and status not in _TRANSIENT
        return FailedTry(f"the server answers {status} {message}".strip(), final)
    if isinstance(error, TimeoutError):
        return FailedTry("nothing came for too long")
    text = " ".join(str(error).split()).replace(url, shown(url))
    if is_http(url) and "?" in url:
        text = text.replace(url.partition("?")[2], "...")  # a signature
    return FailedTry(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error of aiohttp, gcsfs or huggingface_hub tells of."""
    places = ((error, "status"), (error, "code"), (getattr(error, "response", None), "status_code"))
    for place, name in places:
        status = getattr(place, name, None)
        if isinstance(status, int):
            return status
    return None


def until_it_works(
    url: str, ask: Callable[[], Answer], retry: Retry, moved: Callable[[], bool] = lambda: False
) -> Answer:
    """Ask for what is at a URL until a try raises no `FailedTry`; `moved` is that of `Retry.run`.

    Raises:
        NotThere: If nothing is there, or nothing that may be read.
        RemoteError: If no answer comes.
    """

    def final(error: FailedTry, num_failed: int) -> RemoteError:
        if error.missing:
            return NotThere(str(error))
        tries = "1 try" if num_failed == 1 else f"{num_failed} tries in a row"
        what = f"{shown(url)} cannot be fetched after {tries}"
        return RemoteError(f"{what}: {error}; once it can be, the same command goes on")

    return retry.run(ask, FailedTry, lambda error: not error.final, moved, final)


def ask_filesystem(url: str, ask: Callable[[Any, str], Answer], retry: Retry) -> Answer:
    """Do the same, asking the filesystem of a URL for the path there."""

    def try_once() -> Answer:
        with asking(url):
            return ask(*filesystem(url, retry))

    return until_it_works(url, try_once, retry)
