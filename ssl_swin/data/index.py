"""Makes the indexes of shards: one pass over a tar's headers, payloads are seeked over.

Members are grouped as WebDataset groups them; what an index holds is in `layout.py`.
"""

import errno
import json
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ssl_swin.atomic import replacing
from ssl_swin.data.layout import (
    CLS_LABEL,
    JSON_LABEL,
    MANIFEST_NAME,
    NO_LABEL,
    SAMPLE_DTYPE,
    ShardError,
    cache_folder,
    expand,
    index_beside,
    load_manifest,
    sample_key,
)

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "tif", "tiff"})
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
    path: Path
    """Where the index was written."""


def index(shards: str, num_workers: int = 8) -> None:
    """Write the index of every shard, and their folder's index.json, anew.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob.
        num_workers: Threads, each with one tar at a time; at least 1.

    Raises:
        ShardError: If nothing matches, or a tar is cut off, compressed or otherwise damaged.
    """
    found = index_shards(expand(shards), num_workers=num_workers)
    without = sum(shard.num_without_image for shard in found)
    print(
        f"{sum(shard.num_samples for shard in found)} samples in {len(found)} shards"
        + (f"; {without} keys without an image were left out" if without else "")
    )


def index_shards(
    paths: Iterable[Path], num_workers: int = 8, cache_dir: Path | None = None
) -> list[IndexedShard]:
    """Index many tars in parallel and enter them in their folders' manifests.

    Reading headers waits for storage more than for the processor, so threads do.

    Args:
        paths: The tars.
        num_workers: Threads, at least 1.
        cache_dir: Root of the cache used where a folder cannot be written to; None means
            `~/.cache/ssl_swin`.

    Returns:
        What was found, in the order of `paths`.

    Raises:
        ValueError: If `num_workers` is below 1.
        ShardError: If a tar is cut off, compressed or otherwise damaged; the others are indexed.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} cannot read; give 1 or more")
    paths = list(paths)
    found: dict[Path, IndexedShard] = {}
    damaged: list[ShardError] = []
    bar = Progress(transient=True, disable=not sys.stdout.isatty())
    with bar as progress, ThreadPoolExecutor(num_workers) as pool:
        task = progress.add_task("indexing shards", total=len(paths))
        jobs = {pool.submit(_index_where_possible, path, cache_dir): path for path in paths}
        for job in as_completed(jobs):
            try:
                found[jobs[job]] = job.result()
            except ShardError as error:
                damaged.append(error)
            progress.advance(task)
    _write_manifests(found)
    if damaged:
        more = f" ({len(damaged) - 1} more shards are damaged)" if len(damaged) > 1 else ""
        raise ShardError(f"{min(map(str, damaged))}{more}")
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
    num_bytes = tar_path.stat().st_size
    rows, without = [], 0
    for members in read_samples(tar_path):
        image = _image_of(members)
        if image is None:
            without += 1
            continue
        label, kind = _label_of(members)
        rows.append((image.header, image.offset, image.size, label.offset, label.size, kind))
    rows.append((num_bytes, 0, 0, 0, 0, NO_LABEL))
    with replacing(out_path) as file:
        np.save(file, np.array(rows, dtype=SAMPLE_DTYPE))
    return IndexedShard(len(rows) - 1, num_bytes, without, out_path)


def read_samples(tar_path: Path) -> Iterator[list[Member]]:
    """Group the members of a tar by key; members of one key stand next to each other.

    Args:
        tar_path: An uncompressed tar.

    Yields:
        The members of one key, in tar order.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged, or packed sparse.
    """
    group: list[Member] = []
    num_whole = 0
    try:
        for member in _read_members(tar_path):
            if group and member.key != group[0].key:
                yield group
                group, num_whole = [], num_whole + 1
            group.append(member)
    except (tarfile.TarError, EOFError) as error:
        raise ShardError(
            f"{tar_path} is cut off or damaged after {num_whole} whole samples ({error}); "
            "a shard is an uncompressed tar with its end mark: write or copy it again"
        ) from error
    if group:
        yield group


def _read_members(tar_path: Path) -> Iterator[Member]:
    with tar_path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
            if info.issparse():
                raise tarfile.TarError(f"{info.name!r} is stored sparse, pack without --sparse")
            key, extension = sample_key(info.name)
            base = info.name.rpartition("/")[2]
            hidden = base.startswith(".") or re.match(r"__[^/]*__(/|$)", info.name)
            if info.isreg() and extension and not hidden:
                yield Member(key, extension, info.offset, info.offset_data, info.size)
        # tarfile stops in silence at a damaged or missing header; only zeros are the end.
        file.seek(tar.offset)
        if file.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
            raise tarfile.TarError(f"no header and no end mark at byte {tar.offset}")


def _image_of(members: list[Member]) -> Member | None:
    """The member with nothing but an image's extension, else the first that ends in one."""
    for member in members:
        if member.extension in IMAGE_EXTENSIONS:
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
    folders: dict[Path, dict[str, list[int]]] = {}
    for path, shard in found.items():
        sizes = folders.setdefault(shard.path.parent, {})
        sizes[path.name] = [shard.num_samples, shard.num_bytes]
    for folder, sizes in folders.items():
        write_manifest(folder, load_manifest(folder) | sizes)


def write_manifest(folder: Path, sizes: dict[str, list[int]]) -> None:
    """Write a folder's `index.json`.

    Args:
        folder: Where the indexes are.
        sizes: `[num_samples, num_bytes]` under each tar's name.

    Raises:
        OSError: If the place cannot be written to.
    """
    lines = [f"{json.dumps(name)}: {json.dumps(size)}" for name, size in sorted(sizes.items())]
    text = '{"format": 1, "shards": {\n' + ",\n".join(lines) + "\n}}\n"
    with replacing(folder / MANIFEST_NAME) as file:
        file.write(text.encode())
