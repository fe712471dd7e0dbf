"""Makes the indexes of tars: one pass over the headers of each; payloads are skipped."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rich.progress import Progress

from ssl_swin.data.pixels.formats import arrays, by_extension
from ssl_swin.data.shards.index_file import (
    CLS_LABEL,
    JSON_LABEL,
    LABEL_KINDS,
    NO_LABEL,
    SAMPLE_DTYPE,
    index_beside,
    write_index,
)
from ssl_swin.data.shards.label_file import (
    LONGEST_CLS,
    MISSING,
    UNUSABLE,
    labels_beside,
    parse_label,
    write_labels,
)
from ssl_swin.data.shards.left_out import (
    APART,
    BESIDE,
    NO_IMAGE,
    ODD_LABEL,
    SECOND,
    LeftOut,
    leave_out,
)
from ssl_swin.data.shards.manifest import Entry, known_entries, load_manifest, write_manifest
from ssl_swin.data.shards.tar import Member, read_samples
from ssl_swin.errors import ShardError, UserError
from ssl_swin.files import sha256_of
from ssl_swin.phases import without_bar

_INPUTS = ("input", "image", "img", "x")  # of several arrays of a key, which one is the image
_NO_LABEL_MEMBER = Member("", "", 0, 0, 0)


@dataclass(frozen=True)
class IndexedShard:
    """What indexing one tar found."""

    num_samples: int
    num_bytes: int
    left_out: LeftOut
    """What of it is in no sample."""
    path: Path
    """Where the index was written."""
    sha256: str | None = None
    """Of the whole tar, if its folder's manifest had one, which may be of an older tar."""


def index_shard(
    tar_path: Path, out_path: Path | None = None, labels_path: Path | None = None
) -> IndexedShard:
    """Write the index of one tar, by default beside it, and its labels, by default beside that.

    Raises:
        ShardError: If the tar is cut off, compressed or otherwise damaged.
        OSError: If a file cannot be read or written.
    """
    with tar_path.open("rb") as file:
        num_bytes = tar_path.stat().st_size
        out_path = out_path or index_beside(tar_path)
        return index_opened(file, str(tar_path), num_bytes, out_path, labels_path)


def index_shards(
    paths: Iterable[Path],
    num_workers: int = 8,
    cache_dir: Path | None = None,
    index_one: Callable[[Path], IndexedShard] = index_shard,
) -> list[IndexedShard]:
    """Index many tars in parallel and enter them in their folders' manifests.

    Reading headers waits for storage more than for the processor, so threads do.

    Args:
        paths: The tars; what is returned is in their order.
        num_workers: Threads, at least 1.
        cache_dir: Root of the cache; None means `~/.cache/ssl_swin`.
        index_one: Writes the index of one tar.

    Raises:
        UserError: If `num_workers` is below 1.
        ShardError: If a tar is cut off, compressed or otherwise damaged; the others are indexed.
    """
    if num_workers < 1:
        raise UserError(f"num_workers={num_workers} cannot read; give 1 or more")
    paths = list(paths)
    known = known_entries(paths, cache_dir)
    hashed = {path for path, entry in known.items() if entry.sha256}

    def index_and_hash(path: Path) -> IndexedShard:
        shard = index_one(path)
        return replace(shard, sha256=sha256_of(path)) if path in hashed else shard

    found: dict[Path, IndexedShard] = {}
    damaged: list[ShardError] = []
    bar = Progress(transient=True, disable=not sys.stdout.isatty())
    lines = without_bar("indexing shards", lambda: f"{len(found)} of {len(paths)}")
    with lines, bar as progress, ThreadPoolExecutor(num_workers) as pool:
        task = progress.add_task("indexing shards", total=len(paths))
        jobs = {pool.submit(index_and_hash, path): path for path in paths}
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


def index_opened(
    file: BinaryIO, name: str, num_bytes: int, out_path: Path, labels_path: Path | None = None
) -> IndexedShard:
    """Do the same for an opened tar of `num_bytes`, whose path or URL is `name`."""
    rows: list[tuple[int, ...]] = []
    classes: list[int] = []
    left_out: LeftOut = {}
    unlabelled, alone = set(), []  # keys of images without a label, and of labels without an image
    for members in read_samples(file, name, left_out):
        named = {one.extension: one for one in (*members, _NO_LABEL_MEMBER)}
        label = next(named[extension] for extension in LABEL_KINDS if extension in named)
        odd = next((one for one in members if one.extension.endswith(".cls")), None)
        if odd is not None and not label.extension:
            leave_out(left_out, ODD_LABEL, odd.name)
        if label.size >= 2**31:
            raise ShardError(
                f"{name}: {label.name!r} has {label.size} bytes, which is no label; pack it again"
            )
        image = _choose_image(members, left_out)
        kind = LABEL_KINDS[label.extension]
        if image is None:
            alone.append((members[0], kind))
            continue
        if not kind:
            unlabelled.add(image.key)
        rows.append((image.header, image.offset, image.size, label.offset, label.size, kind))
        classes.append(_class_of(file, label, kind))
    for one, kind in alone:
        leave_out(left_out, APART if kind and one.key in unlabelled else NO_IMAGE, one.name)
    table = np.array(rows, dtype=SAMPLE_DTYPE)
    _write_labels(labels_path or labels_beside(out_path), table, classes)
    write_index(out_path, table, num_bytes, {"left_out": left_out})
    return IndexedShard(len(rows), num_bytes, left_out, out_path)


def _choose_image(members: list[Member], left_out: LeftOut) -> Member | None:
    """Return the image of a key, and count its others: x.png before x.seg.png, then the first.

    Arrays are images where there are no others: x.npy, then x.input.npy or another of `_INPUTS`.
    What has another name, such as x.seg.npy, is never one.
    """
    images = [one for one in members if _ending(one) in by_extension()]
    images = [one for one in images if _ending(one) not in arrays()] or [
        one for one in images if _first(one) in (_ending(one), *_INPUTS)
    ]
    plain = [one for one in images if "." not in one.extension]
    chosen = next(iter(plain or images), None)
    for one in images:
        if one is not chosen:
            leave_out(left_out, SECOND if one in plain or not plain else BESIDE, one.name)
    return chosen


def _ending(member: Member) -> str:
    return member.extension.rpartition(".")[2]


def _first(member: Member) -> str:
    return member.extension.partition(".")[0]


def _class_of(file: BinaryIO, label: Member, kind: int) -> int:
    """Read the class of a .cls member on the way: the header of the next member is beside it."""
    if kind == NO_LABEL:
        return MISSING
    if kind == JSON_LABEL or label.size > LONGEST_CLS:
        return UNUSABLE  # what .json says is read when a field of it is asked for
    file.seek(label.offset)
    return parse_label(kind, file.read(label.size), "")


def _write_labels(path: Path, table: np.ndarray, classes: list[int]) -> None:
    path.unlink(missing_ok=True)  # the labels of what the tar was before
    if CLS_LABEL in table["label_kind"] and JSON_LABEL not in table["label_kind"]:
        write_labels(path, table, "", np.array(classes))


def _write_manifests(found: dict[Path, IndexedShard]) -> None:
    folders: dict[Path, dict[str, Entry]] = {}
    for path, shard in found.items():
        entries = folders.setdefault(shard.path.parent, {})
        entries[path.name] = Entry(shard.num_samples, shard.num_bytes, shard.sha256, shard.left_out)
    for folder, entries in folders.items():
        with suppress(PermissionError):  # another user's; each tar's own index says the same
            write_manifest(folder, load_manifest(folder) | entries)
