"""Remote shards: which files a URL names, and their bytes, asked for again when they do not come.

Everything goes through fsspec, which takes credentials from its usual environment. This module is
imported only where a pattern holds `://`.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from fsspec.core import url_to_fs

from ssl_swin.data.layout import RemoteError, changed, expand_braces

_PIECE_BYTES = 2**20  # handed on at once
_RANGE_BYTES = 8 * 2**20  # of one request, where a file does not come as one stream
_HEADER_BYTES = 256 * 2**10  # of one request, where only headers are looked for
_PROGRESS_BYTES = 2**20  # a try that brings as many is no failure
_TRANSIENT = (408, 425, 429)  # client errors that pass by themselves
_VERSION_FIELDS = (
    *("ETag", "etag", "Last-Modified", "LastModified"),
    *("generation", "md5Hash", "blob_id", "mtime", "size"),
)

# fsspec drops its filesystems in a forked process, and a dropped one closes its connections through
# the event loop that it shares with its parent, which then waits on them in vain. Ours stay.
_kept: dict[int, Any] = {}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a remote place is asked again."""

    num_tries: int = 5
    """Tries in a row that bring nothing before an error is final."""
    first_wait_s: float = 1.0
    """Seconds after the first failure; each wait is twice the one before."""
    longest_wait_s: float = 30.0
    """Seconds no wait exceeds."""
    stalled_s: float = 60.0
    """Seconds without a byte until an HTTP connection is dead; other storage has its own."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, num_failed: int) -> None:
        """Wait as long as is due after so many failures in a row."""
        self.sleep(min(self.longest_wait_s, self.first_wait_s * 2 ** (num_failed - 1)))


class Partial(Protocol):
    """Where a download goes: the bytes that came, and of which version of the file they are."""

    num_bytes: int
    """Bytes of the whole file."""

    @property
    def size(self) -> int:
        """Bytes that are there."""

    @property
    def version(self) -> str:
        """What `start_anew` was told; empty in the beginning."""

    def start_anew(self, version: str) -> None:
        """Drop every byte; those that follow are of this version."""

    def write(self, piece: bytes) -> None:
        """Append bytes."""


class _Failed(Exception):
    """One try went wrong: `final` if all others will, `missing` if nothing is there to be read."""

    def __init__(self, reason: str, final: bool = False, missing: bool = False) -> None:
        super().__init__(reason)
        self.final, self.missing = final or missing, missing


def shown(url: str) -> str:
    """Return a URL as it may be printed: without a user's name, a password or a signature."""
    if not _is_http(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def name_of(url: str) -> str:
    """Return the name of the file that a URL ends in.

    Raises:
        RemoteError: If it is no plain name of a tar, such as could be a file of a folder here.
    """
    name = _path(url).rpartition("/")[2]
    name = unquote(name) if _is_http(url) else name
    if not name.endswith(".tar") or name.startswith(".") or "/" in name or "\0" in name:
        raise RemoteError(f"{shown(url)} does not end in the plain name of a tar, like x.tar")
    return name


def folder_of(url: str) -> str:
    """Return the URL of the folder that a file lies in, the same for every signature."""
    return shown(url).rpartition("/")[0]


def beside(url: str, name: str) -> str:
    """Return the URL of another file in the folder of a file."""
    path = _path(url)
    return f"{path.rpartition('/')[0]}/{name}{url[len(path) :]}"


def expand_urls(pattern: str, retry: Retry) -> list[str]:
    """Find the tars that a remote pattern names.

    Braces are spelled out and not looked up; folders and globs are listed.

    Args:
        pattern: The URL of a folder, of a tar, or a pattern of braces or with `*`.
        retry: How patiently to ask.

    Returns:
        URLs in the pattern's order, none twice.

    Raises:
        RemoteError: If there is no tar, or the place cannot be listed.
    """
    found: list[str] = []
    for piece in expand_braces(pattern):
        magic = "*[" if _is_http(piece) else "*[?"  # a ? begins the query of a web address
        if any(sign in _path(piece) for sign in magic):
            found += _list(piece, "glob", retry)
        elif _path(piece).endswith(".tar"):
            found.append(piece)
        else:
            found += _list(piece, "ls", retry)
    if not found:
        raise RemoteError(
            f"shards={shown(pattern)} matches no tar; give the URL of a folder of *.tar files, of "
            "one tar, a pattern like train-{000000..000009}.tar, or a glob"
        )
    return list(dict.fromkeys(found))


def read_small(url: str, retry: Retry) -> bytes | None:
    """Read a whole file.

    Returns:
        Its bytes; None if it is not there, or not to be read.

    Raises:
        RemoteError: If it is there and does not come.
    """

    def ask() -> bytes:
        with _asking(url):
            system, path = _filesystem(url, retry)
            return bytes(system.cat_file(path))

    try:
        return _until_it_works(url, ask, retry)
    except FileNotFoundError:
        return None


def open_ranged(url: str, retry: Retry) -> tuple[BinaryIO, int]:
    """Open a file of which little will be read.

    Returns:
        The file, which asks for what it needs, and its size in bytes.

    Raises:
        RemoteError: If it is not there, or its size cannot be known.
    """

    def ask() -> int:
        with _asking(url):
            size = _look(url, retry)[2].get("size")
        if size is None:
            raise _Failed("the server does not tell its size", final=True)
        return int(size)

    try:
        size = _until_it_works(url, ask, retry)
    except FileNotFoundError as error:
        raise RemoteError(str(error)) from error
    file = io.BufferedReader(_RangedFile(url, size, retry), _HEADER_BYTES)
    return cast(BinaryIO, file), size


class _RangedFile(io.RawIOBase):
    """A remote file whose every read is one request."""

    def __init__(self, url: str, size: int, retry: Retry) -> None:
        self.url, self.size, self.retry, self._place = url, size, retry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        stop = min(self.size, self._place + len(buffer))
        if self._place >= stop:
            return 0
        data = _until_it_works(self.url, lambda: self._read(self._place, stop), self.retry)
        buffer[: len(data)] = data
        self._place = stop
        return len(data)

    def _read(self, start: int, stop: int) -> bytes:
        with _asking(self.url):
            system, path = _filesystem(self.url, self.retry)
            with system.open(path, "rb", block_size=_HEADER_BYTES, cache_type="none") as file:
                file.seek(start)
                data = bytes(file.read(stop - start))
        if len(data) != stop - start:
            raise _Failed(f"{len(data)} bytes came instead of {stop - start}")
        return data


def download(url: str, partial: Partial, retry: Retry) -> None:
    """Bring a file, or the rest of one of which a part is there already.

    Args:
        url: The file.
        partial: Where its bytes go.
        retry: How patiently to ask.

    Raises:
        RemoteError: If it does not come.
        ShardError: If it is not as long as it should be.
        OSError: If it cannot be written.
    """
    failed, furthest = 0, partial.size
    while True:
        try:
            return _go_on(url, partial, retry)
        except _Failed as error:
            if partial.size >= furthest + _PROGRESS_BYTES:
                failed, furthest = 0, partial.size
            failed += 1
            if error.missing:
                raise RemoteError(str(error)) from error
            _wait_or_stop(url, error, failed, retry)


def _go_on(url: str, partial: Partial, retry: Retry) -> None:
    with _asking(url):
        system, path, info = _look(url, retry)
    if info.get("size") not in (None, partial.num_bytes):
        raise changed(shown(url), f"{partial.num_bytes} bytes then, {info['size']} now")
    fields = repr([str(info.get(name)) for name in _VERSION_FIELDS])
    version = hashlib.sha256(fields.encode()).hexdigest()[:16]
    if partial.version != version:
        partial.start_anew(version)
    with _asking(url):
        stream, start = _open_at(system, path, partial.size, info)
    try:
        if start != partial.size:
            partial.start_anew(version)
        while (left := partial.num_bytes - partial.size) > 0:
            with _asking(url):
                piece = stream.read(min(left, _PIECE_BYTES if _is_http(url) else _RANGE_BYTES))
            if not piece:
                raise _Failed(f"it ended after {partial.size} of {partial.num_bytes} bytes")
            partial.write(piece)
    finally:
        stream.close()


def _open_at(system: Any, path: str, start: int, info: dict[str, Any]) -> tuple[Any, int]:
    """Open a file to be read from `start` on; return the place at which it opened, too."""
    if not _is_http(path):
        file = system.open(path, "rb", block_size=_RANGE_BYTES, cache_type="none")
        file.seek(start)
        return file, start
    # One stream, for servers that know no ranges, and because If-Range keeps versions apart.
    headers = {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        tag = info.get("ETag", "W/")
        condition = info.get("Last-Modified") if tag.startswith("W/") else tag
        if condition:
            headers["If-Range"] = condition
    file = system.open(path, "rb", block_size=0, size=info["size"] or 1, headers=headers)
    part = file.r.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return file, start if file.r.status == 206 and part else 0


def _look(url: str, retry: Retry) -> tuple[Any, str, dict[str, Any]]:
    """Look up a file: its filesystem, its path there, its size and what tells its version."""
    system, path = _filesystem(url, retry)
    system.invalidate_cache()
    return system, path, system.info(path)


def _list(pattern: str, how: str, retry: Retry) -> list[str]:
    """List the tars of a folder or a glob, sorted; none if there is no such place."""

    def ask() -> list[str]:
        with _asking(pattern):
            system, path = _filesystem(pattern, retry)
            found = system.glob(path) if how == "glob" else system.ls(path, detail=False)
            return [system.unstrip_protocol(name) for name in found]

    try:
        found = _until_it_works(pattern, ask, retry)
    except FileNotFoundError:
        return []
    return sorted(url for url in found if _path(url).endswith(".tar"))


def _filesystem(url: str, retry: Retry) -> tuple[Any, str]:
    options: dict[str, Any] = {"use_listings_cache": False}
    if _is_http(url):
        from aiohttp import ClientTimeout

        stalled = retry.stalled_s
        options["timeout"] = ClientTimeout(total=None, sock_connect=stalled, sock_read=stalled)
    try:
        system, path = url_to_fs(url, **options)
    except ImportError as error:
        text = f"{error}; or install ssl-swin[s3], ssl-swin[gs] or ssl-swin[hf]"
        raise RemoteError(f"{shown(url)} needs a package that is not here: {text}") from error
    except ValueError as error:
        raise RemoteError(f"{shown(url)}: {error}") from error
    _kept[id(system)] = system
    return system, path


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Turn whatever a filesystem raises into `_Failed`.

    Each filesystem has errors of its own, with no base in common that could be named here; none is
    passed over: it is asked again a few times, and then told.
    """
    try:
        yield
    except (_Failed, RemoteError):
        raise
    except Exception as error:
        raise _failure(url, error) from error


def _failure(url: str, error: Exception) -> _Failed:
    # fsspec calls every failed look-up by HTTP a missing file; the cause says what it was.
    if isinstance(error, FileNotFoundError) and _is_http(url) and error.__cause__ is not None:
        error = cast(Exception, error.__cause__)
    status = _status(error)
    if status in (404, 410) or (isinstance(error, FileNotFoundError) and status is None):
        return _Failed(f"{shown(url)} does not exist", missing=True)
    if status in (401, 403) or isinstance(error, PermissionError):
        text = "may not be read; give credentials where fsspec looks for them, in the environment"
        return _Failed(f"{shown(url)} {text}", missing=True)
    if status is not None:
        message = getattr(error, "message", "")
        final = 400 <= status < 500 and status not in _TRANSIENT
        return _Failed(f"the server answers {status} {message}".strip(), final)
    if isinstance(error, TimeoutError):
        return _Failed("nothing came for too long")
    text = " ".join(str(error).split()).replace(url, shown(url))
    return _Failed(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error of aiohttp, gcsfs or huggingface_hub tells of."""
    places = ((error, "status"), (error, "code"), (getattr(error, "response", None), "status_code"))
    for place, name in places:
        status = getattr(place, name, None)
        if isinstance(status, int):
            return status
    return None


def _until_it_works(url: str, ask: Callable[[], Answer], retry: Retry) -> Answer:
    """Ask a few times.

    Raises:
        FileNotFoundError: If nothing is there, or nothing that may be read.
        RemoteError: If no answer comes.
    """
    for failed in count(1):
        try:
            return ask()
        except _Failed as error:
            if error.missing:
                raise FileNotFoundError(str(error)) from error
            _wait_or_stop(url, error, failed, retry)
    raise AssertionError  # count has no end


def _wait_or_stop(url: str, error: _Failed, failed: int, retry: Retry) -> None:
    if error.final or failed >= retry.num_tries:
        tries = "1 try" if failed == 1 else f"{failed} tries in a row"
        raise RemoteError(
            f"{shown(url)} cannot be fetched after {tries}: {error}; once it can be, the same "
            "command goes on"
        ) from error
    retry.wait(failed)


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _path(url: str) -> str:
    """Return a URL without the query that a web address may have."""
    return url.partition("?")[0] if _is_http(url) else url
