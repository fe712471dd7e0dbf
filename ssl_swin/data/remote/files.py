"""Remote files: which tars a URL names, small files, and files of which little is read."""

import io
from typing import Any, BinaryIO, cast

from ssl_swin.data.remote.asking import FailedTry, NotThere, ask_filesystem
from ssl_swin.data.remote.urls import is_http, path_of, shown
from ssl_swin.data.shards.names import expand_braces
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import ShardError

REQUEST_BYTES = 256 * 2**10  # where only headers or other small pieces are looked for


def expand_urls(pattern: str, retry: Retry) -> list[str]:
    """Find the tars that a remote pattern names, in its order, none twice.

    Braces are spelled out and not looked up; folders and globs are listed.

    Raises:
        ShardError: If there is no tar.
        RemoteError: If the place cannot be listed.
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
        raise ShardError(
            f"shards={shown(pattern)} matches no tar; give the URL of a folder of *.tar files, of "
            "one tar, a pattern like train-{000000..000009}.tar, or a glob"
        )
    return list(dict.fromkeys(found))


def read_small(url: str, retry: Retry) -> bytes | None:
    """Read a whole file; None if none may be read there, RemoteError if it does not come."""
    try:
        return ask_filesystem(url, lambda system, path: bytes(system.cat_file(path)), retry)
    except NotThere:
        return None


def open_ranged(url: str, retry: Retry) -> tuple[BinaryIO, int]:
    """Open a file of which little will be read, and return its size in bytes, too.

    Raises:
        RemoteError: If it is not there, or its size cannot be known.
    """

    def ask(system: Any, path: str) -> int:
        system.invalidate_cache()
        size = system.info(path).get("size")
        if size is None:
            raise FailedTry("the server does not tell its size", final=True)
        return int(size)

    size = ask_filesystem(url, ask, retry)
    file = io.BufferedReader(_RangedFile(url, size, retry), REQUEST_BYTES)
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
        num_bytes = stop - self._place

        def ask(system: Any, path: str) -> bytes:
            with system.open(path, "rb", block_size=REQUEST_BYTES, cache_type="none") as file:
                file.seek(self._place)
                data = bytes(file.read(num_bytes))
            if len(data) != num_bytes:
                raise FailedTry(f"{len(data)} bytes came instead of {num_bytes}")
            return data

        buffer[:num_bytes] = ask_filesystem(self.url, ask, self.retry)
        self._place = stop
        return num_bytes


def _list(pattern: str, how: str, retry: Retry) -> list[str]:
    """List the tars of a folder or a glob, sorted; none if there is no such place."""

    def ask(system: Any, path: str) -> list[str]:
        found = system.glob(path) if how == "glob" else system.ls(path, detail=False)
        return [system.unstrip_protocol(name) for name in found]

    try:
        found = ask_filesystem(pattern, ask, retry)
    except NotThere:
        return []
    names = {url: path_of(url).rpartition("/")[2] for url in found}
    # A Mac adds ._x.tar to each x.tar.
    return sorted(u for u, name in names.items() if name.endswith(".tar") and name[:2] != "._")
