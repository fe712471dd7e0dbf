"""Makes the indexes of shards: one pass over a tar's headers, payloads are seeked over.

Members are grouped as WebDataset groups them; what an index holds is in `layout.py`.
"""

import errno
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rich.progress import Progress

from ssl_swin.data.pixels.formats import by_extension
from ssl_swin.data.shards.layout import (
    CLS_LABEL,
    JSON_LABEL,
    MANIFEST_NAME,
    NO_LABEL,
    SAMPLE_DTYPE,
    Entry,
    cache_folder,
    end_row,
    expand,
    index_beside,
    is_remote,
    load_manifest,
    sample_key,
)
from ssl_swin.data.shards.tar import DAMAGED, open_headers
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing

_BLOCK_BYTES = tarfile.BLOCKSIZE
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Member:
    """One file in a tar."""

    key: str
    extension: str
    header: int
    """Byte of the first header that belongs to it, long-name and pax headers included."""
    offset: int
    """Byte of its payload."""
    size: int
    """Bytes of its payload."""


@dataclass(frozen=True)
class IndexedShard:
    """What indexing one tar found."""

    num_samples: int
    num_bytes: int
    """Size of the tar."""
    num_without_image: int
    """Keys left out because none of their members is an image."""
    num_ignored: int
    """Members left out that are neither a folder nor part of a sample: links, devices, hidden
    files, names without an extension, second images of a key."""
    path: Path
    """Where the index was written."""


def index(shards: str, num_workers: int = 8, cache_dir: str | None = None) -> None:
    """Write the index of every shard, and their folder's index.json, anew.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL of
            these, whose headers are then read from afar.
        num_workers: Threads, each with one tar at a time; at least 1.
        cache_dir: Where indexes go that cannot lie beside their tars; left out, the user's cache.

    Raises:
        ShardError: If nothing matches, or a tar is cut off, compressed or otherwise damaged.
    """
    cache = None if cache_dir is None else Path(cache_dir)
    if is_remote(shards):
        from ssl_swin.data.remote.remote_shards import index_remote

        found = index_remote(shards, num_workers, cache)
    else:
        found = index_shards(expand(shards), num_workers, cache)
    without = sum(shard.num_without_image for shard in found)
    ignored = sum(shard.num_ignored for shard in found)
    print(
        f"{sum(shard.num_samples for shard in found)} samples in {len(found)} shards"
        + (f"; {without} keys without an image were left out" if without else "")
        + (f"; {ignored} members that are in no sample were left out" if ignored else "")
    )


def index_shards(
    paths: Iterable[Path],
    num_workers: int = 8,
    cache_dir: Path | None = None,
    index_one: Callable[[Path], IndexedShard] | None = None,
) -> list[IndexedShard]:
    """Index many tars in parallel and enter them in their folders' manifests.

    Reading headers waits for storage more than for the processor, so threads do.

    Args:
        paths: The tars.
        num_workers: Threads, at least 1.
        cache_dir: Root of the cache used where a folder cannot be written to; None means
            `~/.cache/ssl_swin`.
        index_one: Writes the index of one tar; None means beside it, or in the cache.

    Returns:
        What was found, in the order of `paths`.

    Raises:
        ValueError: If `num_workers` is below 1.
        ShardError: If a tar is cut off, compressed or otherwise damaged; the others are indexed.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} cannot read; give 1 or more")
    paths = list(paths)
    index_one = index_one or partial(_index_where_possible, cache_dir=cache_dir)
    found: dict[Path, IndexedShard] = {}
    damaged: list[ShardError] = []
    bar = Progress(transient=True, disable=not sys.stdout.isatty())
    with bar as progress, ThreadPoolExecutor(num_workers) as pool:
        task = progress.add_task("indexing shards", total=len(paths))
        jobs = {pool.submit(index_one, path): path for path in paths}
        for job in as_completed(jobs):
            try:
                found[jobs[job]] = job.result()
            except ShardError as error:
                damaged.append(error)
            progress.advance(task)
    _write_manifests(found)
    if damaged:
        more = f" ({len(damaged) - 1} more shards are damaged)" if len(damaged) > 1 else ""
        first = min(damaged, key=str)
        raise type(first)(f"{first}{more}")
    return [found[path] for path in paths]


def index_shard(tar_path: Path, out_path: Path | None = None) -> int:
    """Index one tar, reading its headers only.

    Args:
        tar_path: An uncompressed tar.
        out_path: The index file; None means `NAME.tar.index.npy` beside the tar.

    Returns:
        The number of samples, which are the keys with an image.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged.
        OSError: If a file cannot be read or written.
    """
    return _index_to(tar_path, out_path or index_beside(tar_path)).num_samples


def _index_where_possible(tar_path: Path, cache_dir: Path | None) -> IndexedShard:
    """Write the index beside the tar, or in the cache where that place is read-only."""
    beside = index_beside(tar_path)
    try:
        return _index_to(tar_path, beside)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
    return _index_to(tar_path, cache_folder(tar_path.parent, cache_dir) / beside.name)


def _index_to(tar_path: Path, out_path: Path) -> IndexedShard:
    with tar_path.open("rb") as file:
        return index_opened(file, str(tar_path), tar_path.stat().st_size, out_path)


def index_opened(file: BinaryIO, name: str, num_bytes: int, out_path: Path) -> IndexedShard:
    """Write the index of an opened tar, reading its headers only.

    Args:
        file: The tar, which can be sought in.
        name: Its path or URL, for errors.
        num_bytes: Its size.
        out_path: The index file.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged.
    """
    rows, without, ignored = [], 0, 0
    for members in read_samples(file, name):
        image = _image_of(members)
        ignored += 1 if not members else max(0, sum(map(_is_image, members)) - 1)
        if image is None:
            without += bool(members)
            continue
        label, kind = _label_of(members)
        if label.size >= 2**31:
            member = f"{label.key}.{label.extension}"
            raise ShardError(f"{name}: {member!r} has {label.size} bytes, which is no label")
        rows.append((image.header, image.offset, image.size, label.offset, label.size, kind))
    table = np.array(rows, dtype=SAMPLE_DTYPE)
    with replacing(out_path) as out:
        np.save(out, np.concatenate([table, end_row(table, num_bytes)]))
    return IndexedShard(len(rows), num_bytes, without, ignored, out_path)


def read_samples(file: BinaryIO, name: str) -> Iterator[list[Member]]:
    """Group the members of a tar by key; members of one key stand next to each other.

    Args:
        file: An uncompressed tar.
        name: Its path or URL, for errors.

    Yields:
        The members of one key, in tar order; an empty list for each one that is in no sample.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged, packed sparse, or holds
            a name twice in one sample.
    """
    group: list[Member] = []
    num_whole = 0
    try:
        for member in _read_members(file):
            if member is None:
                yield []
                continue
            if group and member.key != group[0].key:
                yield group
                group, num_whole = [], num_whole + 1
            if any(member.extension == other.extension for other in group):
                twice = f"{member.key}.{member.extension}"
                raise tarfile.TarError(f"{twice!r} is there twice at byte {member.header}")
            group.append(member)
    except DAMAGED as error:
        raise ShardError(
            f"{name} is cut off or damaged after {num_whole} whole samples ({error}); "
            "a shard is an uncompressed tar with its end mark: write or copy it again"
        ) from error
    if group:
        yield group


def _read_members(file: BinaryIO) -> Iterator[Member | None]:
    """Yield every file that may be part of a sample, and None for all else but folders."""
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    with open_headers(file) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
            if info.issparse() or any(name.startswith("GNU.sparse") for name in info.pax_headers):
                raise tarfile.TarError(f"{info.name!r} is stored sparse, pack without --sparse")
            # Over a size that cannot be, tarfile goes back (and round in circles) or into nothing.
            padding = tar.offset - info.offset_data - info.size if info.isreg() else 0
            if info.size < 0 or not 0 <= padding < _BLOCK_BYTES or tar.offset > num_bytes:
                raise tarfile.TarError(f"{info.name!r} cannot have {info.size} bytes")
            key, extension = sample_key(info.name)
            base = info.name.rpartition("/")[2]
            hidden = base.startswith(".") or re.match(r"__[^/]*__(/|$)", info.name)
            if info.isreg() and extension and not hidden:
                yield Member(key, extension, info.offset, info.offset_data, info.size)
            elif not info.isdir():
                yield None
        _check_end(file, tar.offset)


def _check_end(file: BinaryIO, end: int) -> None:
    """Raise unless there is nothing but zeros: tarfile stops in silence at a damaged header."""
    file.seek(end)
    mark = file.read(_BLOCK_BYTES)
    if mark != bytes(_BLOCK_BYTES):
        raise tarfile.TarError(f"no header and no end mark at byte {end}")
    while rest := file.read(2**20):
        if rest.count(0) != len(rest):
            raise tarfile.TarError(f"there is more behind the end mark at byte {end}")


def _is_image(member: Member) -> bool:
    return member.extension in by_extension()


def _image_of(members: list[Member]) -> Member | None:
    """The member with nothing but an image's extension, else the first that ends in one."""
    for member in members:
        if _is_image(member):
            return member
    for member in members:
        if member.extension.rpartition(".")[2] in by_extension():
            return member
    return None


def _label_of(members: list[Member]) -> tuple[Member, int]:
    for extension, kind in (("cls", CLS_LABEL), ("json", JSON_LABEL)):
        for member in members:
            if member.extension == extension:
                return member, kind
    return Member("", "", 0, 0, 0), NO_LABEL


def _write_manifests(found: dict[Path, IndexedShard]) -> None:
    """Enter shards in the manifest of the folder their index is in."""
    folders: dict[Path, dict[str, Entry]] = {}
    for path, shard in found.items():
        entries = folders.setdefault(shard.path.parent, {})
        entries[path.name] = Entry(shard.num_samples, shard.num_bytes)
    for folder, entries in folders.items():
        write_manifest(folder, load_manifest(folder) | entries)


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write a folder's `index.json`.

    Args:
        folder: Where the indexes are.
        entries: What is known of each tar, under its name.

    Raises:
        OSError: If the place cannot be written to.
    """
    lines = [
        f"{json.dumps(name)}: {json.dumps([value for value in entry if value is not None])}"
        for name, entry in sorted(entries.items())
    ]
    text = '{"format": 1, "shards": {\n' + ",\n".join(lines) + "\n}}\n"
    with replacing(folder / MANIFEST_NAME) as file:
        file.write(text.encode())
