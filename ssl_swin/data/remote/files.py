"""Remote shards: which files a URL names, and their bytes, asked for again when they do not come.

Everything goes through fsspec, which takes credentials from its usual environment. This module is
imported only where a pattern holds `://`.
"""

import hashlib
import io
from typing import Any, BinaryIO, Protocol, cast

from ssl_swin.data.remote.asking import FailedTry, NotThere, asking, filesystem, until_it_works
from ssl_swin.data.remote.urls import is_http, path_of, shown
from ssl_swin.data.shards.names import expand_braces
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.tar import changed
from ssl_swin.errors import RemoteError

_PIECE_BYTES = 2**20  # handed on at once
_RANGE_BYTES = 8 * 2**20  # of one request, where a file does not come as one stream
_HEADER_BYTES = 256 * 2**10  # of one request, where only headers are looked for
_PROGRESS_BYTES = 2**20  # a try that brings as many is no failure
_VERSION_FIELDS = (
    *("ETag", "etag", "Last-Modified", "LastModified"),
    *("generation", "md5Hash", "blob_id", "mtime", "size"),
)


class IncomingFile(Protocol):
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
        magic = "*[" if is_http(piece) else "*[?"  # a ? begins the query of a web address
        if any(sign in path_of(piece) for sign in magic):
            found += _list(piece, "glob", retry)
        elif path_of(piece).endswith(".tar"):
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
        with asking(url):
            system, path = filesystem(url, retry)
            return bytes(system.cat_file(path))

    try:
        return until_it_works(url, ask, retry)
    except NotThere:
        return None


def open_ranged(url: str, retry: Retry) -> tuple[BinaryIO, int]:
    """Open a file of which little will be read.

    Returns:
        The file, which asks for what it needs, and its size in bytes.

    Raises:
        RemoteError: If it is not there, or its size cannot be known.
    """

    def ask() -> int:
        with asking(url):
            size = _look(url, retry)[2].get("size")
        if size is None:
            raise FailedTry("the server does not tell its size", final=True)
        return int(size)

    size = until_it_works(url, ask, retry)
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
        data = until_it_works(self.url, lambda: self._read(self._place, stop), self.retry)
        buffer[: len(data)] = data
        self._place = stop
        return len(data)

    def _read(self, start: int, stop: int) -> bytes:
        with asking(self.url):
            system, path = filesystem(self.url, self.retry)
            with system.open(path, "rb", block_size=_HEADER_BYTES, cache_type="none") as file:
                file.seek(start)
                data = bytes(file.read(stop - start))
        if len(data) != stop - start:
            raise FailedTry(f"{len(data)} bytes came instead of {stop - start}")
        return data


def download(url: str, partial: IncomingFile, retry: Retry) -> None:
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
    furthest = partial.size

    def moved() -> bool:
        nonlocal furthest
        if partial.size < furthest + _PROGRESS_BYTES:
            return False
        furthest = partial.size
        return True

    until_it_works(url, lambda: _go_on(url, partial, retry), retry, moved)


def _go_on(url: str, partial: IncomingFile, retry: Retry) -> None:
    with asking(url):
        system, path, info = _look(url, retry)
    if info.get("size") not in (None, partial.num_bytes):
        raise changed(shown(url), f"{partial.num_bytes} bytes then, {info['size']} now")
    fields = repr([str(info.get(name)) for name in _VERSION_FIELDS])
    version = hashlib.sha256(fields.encode()).hexdigest()[:16]
    if partial.version != version:
        partial.start_anew(version)
    with asking(url):
        stream, start = _open_at(system, path, partial.size, info)
    try:
        if start != partial.size:
            partial.start_anew(version)
        while (left := partial.num_bytes - partial.size) > 0:
            with asking(url):
                piece = stream.read(min(left, _PIECE_BYTES if is_http(url) else _RANGE_BYTES))
            if not piece:
                raise FailedTry(f"it ended after {partial.size} of {partial.num_bytes} bytes")
            partial.write(piece)
    finally:
        stream.close()


def _open_at(system: Any, path: str, start: int, info: dict[str, Any]) -> tuple[Any, int]:
    """Open a file to be read from `start` on; return the place at which it opened, too."""
    if not is_http(path):
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
    system, path = filesystem(url, retry)
    system.invalidate_cache()
    return system, path, system.info(path)


def _list(pattern: str, how: str, retry: Retry) -> list[str]:
    """List the tars of a folder or a glob, sorted; none if there is no such place."""

    def ask() -> list[str]:
        with asking(pattern):
            system, path = filesystem(pattern, retry)
            found = system.glob(path) if how == "glob" else system.ls(path, detail=False)
            return [system.unstrip_protocol(name) for name in found]

    try:
        found = until_it_works(pattern, ask, retry)
    except NotThere:
        return []
    return sorted(url for url in found if path_of(url).endswith(".tar"))
