"""Downloads a whole file, and goes on where a download broke."""

import hashlib
from typing import Any

from ssl_swin.data.remote.asking import FailedTry, asking, filesystem, until_it_works
from ssl_swin.data.remote.incoming import IncomingFile
from ssl_swin.data.remote.urls import is_http, shown
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.tar import changed

_PIECE_BYTES = 2**20  # handed on at once
_RANGE_BYTES = 8 * 2**20  # of one request, where a file does not come as one stream
_PROGRESS_BYTES = 2**20  # a try that brings as many is no failure
_VERSION_FIELDS = (
    *("ETag", "etag", "Last-Modified", "LastModified"),
    *("generation", "md5Hash", "blob_id", "mtime", "size"),
)


def download(url: str, incoming: IncomingFile, retry: Retry) -> None:
    """Bring a file, or the rest of one of which a part is there already.

    Raises:
        RemoteError: If it does not come.
        ShardError: If it is not as long as it should be.
        OSError: If it cannot be written.
    """
    furthest = incoming.size

    def moved() -> bool:
        nonlocal furthest
        if incoming.size < furthest + _PROGRESS_BYTES:
            return False
        furthest = incoming.size
        return True

    until_it_works(url, lambda: _go_on(url, incoming, retry), retry, moved)


def _go_on(url: str, incoming: IncomingFile, retry: Retry) -> None:
    with asking(url):
        system, path = filesystem(url, retry)
        system.invalidate_cache()
        info = system.info(path)
    if info.get("size") not in (None, incoming.num_bytes):
        raise changed(shown(url), f"{incoming.num_bytes} bytes then, {info['size']} now")
    fields = repr([str(info.get(name)) for name in _VERSION_FIELDS])
    version = hashlib.sha256(fields.encode()).hexdigest()[:16]
    if incoming.version != version:
        incoming.start_anew(version)
    with asking(url):
        stream, start = _open_at(system, path, incoming.size, info)
    try:
        if start != incoming.size:
            incoming.start_anew(version)
        while (left := incoming.num_bytes - incoming.size) > 0:
            with asking(url):
                piece = stream.read(min(left, _PIECE_BYTES if is_http(url) else _RANGE_BYTES))
            if not piece:
                raise FailedTry(f"it ended after {incoming.size} of {incoming.num_bytes} bytes")
            incoming.write(piece)
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
