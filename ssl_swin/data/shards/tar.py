"""Reads tars: their headers, their members in samples, and whether one is what its index says."""

import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ssl_swin.data.shards.instead import what_it_is
from ssl_swin.data.shards.left_out import HIDDEN, LINK, NO_EXTENSION, NO_FILE, LeftOut, leave_out
from ssl_swin.data.shards.names import is_hidden, is_remote, sample_key
from ssl_swin.errors import ShardError

DAMAGED = (tarfile.TarError, EOFError, ValueError, OverflowError, IndexError, RecursionError)
"""What tarfile raises if a header is damaged."""

_MAX_HEADER_BYTES = 2**16  # of a long name, or of pax records; real ones have a few hundred
LINK_HEADER_BYTES = 2 * _MAX_HEADER_BYTES
"""At least as many as a hard link's headers have together."""
_LARGE = 8 * 2**30  # bytes of a member, from which on a pax header may hold its size instead


@dataclass(frozen=True)
class Member:
    """One file in a tar."""

    key: str
    extension: str
    header: int
    """Byte of the first header that belongs to it, long-name and pax headers included."""
    offset: int
    size: int
    """Bytes of its payload, which begins at `offset`; a hard link's is its target's."""

    @property
    def name(self) -> str:
        """Its path in the tar, with the extension in lower case."""
        return f"{self.key}.{self.extension}"


def open_headers(file: BinaryIO) -> tarfile.TarFile:
    """Open a tar, from where the file stands, to go through its headers with `next`.

    Both raise one of `DAMAGED` if a header is damaged. No payload can be read.
    """
    return tarfile.open(fileobj=_HeaderFile(file), mode="r:")  # type: ignore[call-overload]


class _HeaderFile:
    """Reads at once no more than a header has; a damaged one may claim more than fits in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, num_bytes: int) -> bytes:
        if not 0 <= num_bytes <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {num_bytes} bytes before byte {self.tell()}")
        return self._file.read(num_bytes)


def names_in(tar_path: Path) -> list[str]:
    """Return the names of all files of a tar, as far as its headers are whole."""
    names: list[str] = []
    with tar_path.open("rb") as file, suppress(*DAMAGED):
        names.extend(info.name for info in _read_headers(file) if info.isfile())
    return names


def read_samples(file: BinaryIO, name: str, left_out: LeftOut) -> Iterator[list[Member]]:
    """Group the members of a tar, which errors call `name`, by key.

    Counts in `left_out` what can be in no sample. Yields the members of one key that are next to
    each other in the tar.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged, packed sparse, or holds
            a name twice in one sample.
    """
    group: list[Member] = []
    num_whole = 0
    try:
        for member in _read_members(file, left_out):
            if group and member.key != group[0].key:
                yield group
                group, num_whole = [], num_whole + 1
            if any(member.extension == other.extension for other in group):
                raise tarfile.TarError(f"{member.name!r} is there twice at byte {member.header}")
            group.append(member)
    except DAMAGED as error:
        file.seek(0)
        remedy = what_it_is(posixpath.basename(name), file.read(tarfile.BLOCKSIZE), _local(name))
        if remedy is not None and not num_whole:
            raise ShardError(f"shards={name}: {remedy}; a shard is an uncompressed tar") from error
        raise ShardError(
            f"{name} is cut off or damaged after {num_whole} whole samples ({error}); "
            "a shard is an uncompressed tar with its end mark: write or copy it again"
        ) from error
    if group:
        yield group


def _local(name: str) -> Path | None:
    return None if is_remote(name) else Path(name)


def _read_members(file: BinaryIO, left_out: LeftOut) -> Iterator[Member]:
    """Yield every file that may be part of a sample, and count all else but folders."""
    files: dict[str, tuple[int, int]] | None = None  # looked up once there is a link
    for info in _read_headers(file):
        offset, size = info.offset_data, info.size
        hidden = is_hidden(info.name) or re.match(r"__[^/]*__(/|$)", info.name)
        if info.isdir():
            continue
        if info.islnk():
            files = _files_in(file) if files is None else files
            target = posixpath.normpath(info.linkname)
            if target != posixpath.normpath(info.name):
                offset, size = files.get(target, (offset, 0))
        key, extension = sample_key(info.name)
        if hidden:
            leave_out(left_out, HIDDEN, info.name)
        elif info.issym() or (info.islnk() and offset >= info.offset):
            leave_out(left_out, LINK, info.name)
        elif not (info.isreg() or info.islnk()):
            leave_out(left_out, NO_FILE, info.name)
        elif not extension:
            leave_out(left_out, NO_EXTENSION, info.name)
        else:
            yield Member(key, extension, info.offset, offset, size)


def _read_headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield every header of a tar; one of `DAMAGED` is raised where it is not whole."""
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    with open_headers(file) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
            if info.issparse() or any(name.startswith("GNU.sparse") for name in info.pax_headers):
                raise tarfile.TarError(f"{info.name!r} is stored sparse, pack without --sparse")
            # A size that cannot be leads tarfile back, and round in circles, or beyond the end.
            padding = tar.offset - info.offset_data - info.size if info.isreg() else 0
            if info.size < 0 or not 0 <= padding < tarfile.BLOCKSIZE or tar.offset > num_bytes:
                raise tarfile.TarError(f"{info.name!r} cannot have {info.size} bytes")
            yield info
        _check_end(file, tar.offset)


def _files_in(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return place and size of every file of a tar by name, of those linked to by name as well."""
    found: dict[str, tuple[int, int]] = {}
    for info in _read_headers(file):
        name = posixpath.normpath(info.name)
        if info.isreg():
            found.setdefault(name, (info.offset_data, info.size))
        elif info.islnk() and posixpath.normpath(info.linkname) in found:
            found.setdefault(name, found[posixpath.normpath(info.linkname)])
    return found


def _check_end(file: BinaryIO, end: int) -> None:
    """Raise unless there is nothing but zeros: tarfile stops in silence at a damaged header."""
    file.seek(end)
    mark = file.read(tarfile.BLOCKSIZE)
    if mark != bytes(tarfile.BLOCKSIZE):
        raise tarfile.TarError(f"no header and no end mark at byte {end}")
    while rest := file.read(2**20):
        if rest.count(0) != len(rest):
            raise tarfile.TarError(f"there is more behind the end mark at byte {end}")


def check_size(path: Path, indexed_bytes: int) -> os.stat_result:
    """Return the status of a tar; ShardError if it is not as long as when it was indexed."""
    present = os.stat(path)
    if present.st_size != indexed_bytes:
        raise changed(path, f"{indexed_bytes} bytes then, {present.st_size} now")
    return present


def check_headers(path: Path, rows: np.ndarray, where: Path | str | None = None) -> None:
    """Refuse a tar, called `where`, that has no image where the first and the last of `rows` say.

    Tars are often of the same size, so their size alone does not tell them apart.

    Raises:
        ShardError: If there is no header, or one of another size.
    """
    where = path if where is None else where
    with path.open("rb", buffering=0) as file:
        for row in rows[[0, -1]] if len(rows) else []:
            file.seek(int(row["offset"]) - tarfile.BLOCKSIZE)
            head = file.read(tarfile.BLOCKSIZE)
            try:
                info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
            except tarfile.TarError as error:
                raise changed(where, f"no image at {row['offset']}") from error
            if info.size != row["size"] < _LARGE:
                how = f"{row['size']} bytes at {row['offset']} then, {info.size} now"
                raise changed(where, how)


def changed(where: Path | str, how: str) -> ShardError:
    """Make the error for a tar that is not what its index says."""
    remedy = f"ssl-swin shards index {str(where).rpartition('/')[0]}"
    if is_remote(str(where)):
        remedy += ", where the shards lie if they have an index.json there; or put the old one back"
    return ShardError(f"{where} changed since it was indexed ({how}); run: {remedy}")
