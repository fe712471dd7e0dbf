"""Makes the indexes of tars: one pass over the headers of each; payloads are skipped."""

import errno
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rich.progress import Progress

from ssl_swin.data.shards.index_file import (
    CLS_LABEL,
    JSON_LABEL,
    NO_LABEL,
    SAMPLE_DTYPE,
    end_row,
    index_beside,
)
from ssl_swin.data.shards.manifest import Entry, load_manifest, write_manifest
from ssl_swin.data.shards.names import IMAGE_EXTENSIONS, cache_folder
from ssl_swin.data.shards.tar import Member, read_samples
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


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


def index_shard(tar_path: Path, out_path: Path | None = None) -> IndexedShard:
    """Write the index of one tar, reading its headers only.

    Args:
        tar_path: An uncompressed tar.
        out_path: The index file; None means `NAME.tar.index.npy` beside the tar.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged.
        OSError: If a file cannot be read or written.
    """
    with tar_path.open("rb") as file:
        num_bytes = tar_path.stat().st_size
        return index_opened(file, str(tar_path), num_bytes, out_path or index_beside(tar_path))


def _index_where_possible(tar_path: Path, cache_dir: Path | None) -> IndexedShard:
    """Write the index beside the tar, or in the cache where that place is read-only."""
    beside = index_beside(tar_path)
    try:
        return index_shard(tar_path, beside)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
    return index_shard(tar_path, cache_folder(tar_path.parent, cache_dir) / beside.name)


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


def _is_image(member: Member) -> bool:
    return member.extension in IMAGE_EXTENSIONS


def _image_of(members: list[Member]) -> Member | None:
    """The member with nothing but an image's extension, else the first that ends in one."""
    for member in members:
        if _is_image(member):
            return member
    for member in members:
        if member.extension.rpartition(".")[2] in IMAGE_EXTENSIONS:
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
