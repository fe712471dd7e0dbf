"""What lies in a folder of shards: the tars a pattern names, their indexes, the set's manifest.

Numpy and the standard library only. The contract in words is in the top-level `data/README.md`.
"""

import glob
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_swin.errors import ShardError

SAMPLE_DTYPE = np.dtype(
    [
        ("header", "<i8"),
        ("offset", "<i8"),
        ("size", "<i8"),
        ("label_offset", "<i8"),
        ("label_size", "<i4"),
        ("label_kind", "<i4"),
    ]
)
"""One row a sample, in tar order; a last row holds the tar's size in bytes in `header`, and in
`offset` the CRC-32 of all rows before it, or 0 if it was written by a version that made none."""

NO_LABEL, CLS_LABEL, JSON_LABEL = 0, 1, 2
MANIFEST_NAME = "index.json"
_LARGE = 8 * 2**30  # from here on, a pax header may hold the size instead
_NPY_PREFIX = 10  # bytes: magic, version, length of the header
_MAX_TAR_BYTES = 2**50  # so that sums over all shards fit into int64


class Entry(NamedTuple):
    """What a manifest says of one tar."""

    num_samples: int
    num_bytes: int
    sha256: str | None = None
    """Of the whole tar, in hex; None where nobody has computed it."""


def is_remote(pattern: str) -> bool:
    """Whether a pattern names shards by URL."""
    return "://" in pattern


def expand(pattern: str) -> list[Path]:
    """Find the tars that a local pattern names; `remote.py` does the same for URLs.

    Args:
        pattern: A folder (all its `*.tar`, sorted), a tar, a brace pattern
            (`train-{000000..000009}.tar`, `{a,b}`), or a glob (sorted).

    Returns:
        The tars in the pattern's order, none twice.

    Raises:
        ShardError: If nothing is found, or a tar that the pattern names is not there.
    """
    # A name that exists is taken as it stands, whatever signs are in it.
    whole = os.path.expanduser(pattern)
    pieces = [whole] if os.path.exists(whole) else expand_braces(whole)
    listings: dict[str, set[str]] = {}  # one listing a folder instead of one look-up a shard
    found: list[Path] = []
    missing = []
    for piece in pieces:
        folder, name = os.path.split(piece)
        if name.endswith(".tar") and folder not in listings:
            listings[folder] = _names_in(folder or ".")
        if name in listings.get(folder, ()) or os.path.isfile(piece):
            found.append(Path(piece))
        elif glob.has_magic(piece) and not os.path.isdir(piece):
            found += [Path(match) for match in sorted(glob.glob(piece))]
        elif os.path.isdir(piece):
            # By name: paths compare ten times as slowly, which counts for 100,000 shards.
            tars = (path for path in Path(piece).iterdir() if path.name.endswith(".tar"))
            found += sorted(tars, key=lambda path: path.name)
        else:
            missing.append(piece)
    if missing and len(pieces) > 1:
        raise ShardError(
            f"{len(missing)} of the {len(pieces)} shards in {pattern} do not exist, "
            f"the first is {missing[0]}"
        )
    if not found:
        raise ShardError(
            f"shards={pattern} matches no tar (looked in {Path(whole).absolute()}); give a folder "
            "of *.tar files, one tar, a pattern like train-{000000..000009}.tar, or a glob"
        )
    return list(dict.fromkeys(found))


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def expand_braces(pattern: str) -> list[str]:
    """Spell out `{000..009}` and `{a,b}`, the leftmost slowest; other braces stay as they are."""
    for group in re.finditer(r"\{([^{}]*)\}", pattern):
        body = group.group(1)
        bounds = re.fullmatch(r"(\d+)\.\.(\d+)", body)
        if bounds:
            first, last = bounds.groups()
            padded = first.startswith("0") or last.startswith("0")
            width = max(len(first), len(last)) if padded else 0
            step = 1 if int(first) <= int(last) else -1
            numbers = range(int(first), int(last) + step, step)
            choices = [f"{number:0{width}d}" for number in numbers]
        elif "," in body:
            choices = body.split(",")
        else:
            continue
        head, tails = pattern[: group.start()], expand_braces(pattern[group.end() :])
        return [head + choice + tail for choice in choices for tail in tails]
    return [pattern]


def sample_key(name: str) -> tuple[str, str]:
    """Split a member's name as WebDataset does, at the first dot after the last slash.

    Args:
        name: The member's name in the tar.

    Returns:
        Key with its folders, and lower-case extension: `("a.b/x", "seg.png")` for `a.b/x.seg.PNG`.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def cache_root(cache_dir: Path | None) -> Path:
    """The folder that was given, or `~/.cache/ssl_swin`."""
    return Path.home() / ".cache" / "ssl_swin" if cache_dir is None else Path(cache_dir)


def cache_folder(folder: Path, cache_dir: Path | None) -> Path:
    """Where the indexes of a folder go that cannot be written to.

    Args:
        folder: The folder of the tars.
        cache_dir: Root of the cache; None means `~/.cache/ssl_swin`.

    Returns:
        A folder of its own for each folder of tars; it need not exist yet.
    """
    return cache_root(cache_dir) / hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]


def index_beside(tar: Path) -> Path:
    """The index file next to a tar, whether it exists or not."""
    return tar.with_name(f"{tar.name}.index.npy")


def index_path(tar: Path, cache_dir: Path | None = None) -> Path:
    """Where the index of a tar is, or would be: beside it, unless only a cached one exists.

    Args:
        tar: The tar.
        cache_dir: Root of the cache; None means `~/.cache/ssl_swin`.
    """
    beside = index_beside(tar)
    cached = cache_folder(tar.parent, cache_dir) / beside.name
    return cached if not beside.exists() and cached.exists() else beside


def load_index(path: Path, where: str | None = None) -> np.ndarray:
    """Map one index file into memory, its last row (the tar's size) included.

    Args:
        path: The index file.
        where: What the error calls it; None means its path.

    Raises:
        ShardError: If there is no such file, or it is damaged or of another version.
    """
    where = where or str(path)
    remedy = f"run: ssl-swin shards index {where.rpartition('/')[0]}"
    try:
        with path.open("rb") as file:
            head = file.read(_NPY_PREFIX)
            head += file.read(int.from_bytes(head[8:], "little"))
            num_bytes = os.fstat(file.fileno()).st_size - len(head)
    except FileNotFoundError:
        raise ShardError(f"there is no index {where}; {remedy}") from None
    num_rows, rest = divmod(num_bytes, SAMPLE_DTYPE.itemsize)
    # Compared, not parsed: numpy evaluates what stands there, and fails in many ways.
    if rest or num_rows < 1 or head.split() != _npy_header(num_rows).split():
        raise ShardError(f"{where} is damaged, or no index of this version; {remedy}")
    return np.memmap(path, SAMPLE_DTYPE, "r", offset=len(head), shape=(num_rows,))


def _npy_header(num_rows: int) -> bytes:
    """What numpy writes before that many rows."""
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, SAMPLE_DTYPE))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header | {"shape": (num_rows,)})
    return buffer.getvalue()


def load_manifest(folder: Path) -> dict[str, Entry]:
    """Read a folder's `index.json`.

    Args:
        folder: The folder of the tars, or of their cached indexes.

    Returns:
        What it says under each tar's name; empty where there is no manifest.

    Raises:
        ShardError: If the file is not a manifest of format 1.
    """
    path = folder / MANIFEST_NAME
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}


def parse_manifest(content: bytes, where: str) -> dict[str, Entry]:
    """Read what is in an `index.json`.

    Args:
        content: The file's bytes.
        where: Its path or URL, for the error.

    Raises:
        ShardError: If it is not a manifest of format 1.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != 1:
            raise ValueError(f"format is {manifest['format']!r}, this version reads 1")
        entries = {
            name: Entry(int(count), int(size), *map(str, digest))
            for name, (count, size, *digest) in manifest["shards"].items()
        }
        for name, entry in entries.items():
            # A sample takes one header at least.
            if not 0 <= entry.num_samples * tarfile.BLOCKSIZE <= entry.num_bytes < _MAX_TAR_BYTES:
                raise ValueError(f"{name}: {entry.num_samples} samples in {entry.num_bytes} bytes")
        return entries
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ShardError(
            f"{where} is not a manifest of shards ({error!r}); move it away and run: "
            f"ssl-swin shards index {where.rpartition('/')[0]}"
        ) from error


def known_entries(paths: Iterable[Path], cache_dir: Path | None) -> dict[Path, Entry]:
    """What manifests say of these tars; the one beside them goes before the cached one."""
    known: dict[Path, Entry] = {}
    manifests: dict[str, dict[str, Entry]] = {}
    for path in paths:
        folder, name = os.path.split(path)  # several times faster than `parent` and `name`
        if folder not in manifests:
            cached = load_manifest(cache_folder(Path(folder), cache_dir))
            manifests[folder] = cached | load_manifest(Path(folder))
        if name in manifests[folder]:
            known[path] = manifests[folder][name]
    return known


def sha256_of(path: Path) -> str:
    """Hash a whole file; hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_size(path: Path, indexed_bytes: int) -> None:
    """Refuse a tar that is not as long as when it was indexed."""
    present = os.stat(path).st_size
    if present != indexed_bytes:
        raise changed(path, f"{indexed_bytes} bytes then, {present} now")


def end_row(rows: np.ndarray, num_bytes: int) -> np.ndarray:
    """The last row of an index.

    Args:
        rows: `SAMPLE_DTYPE` (count,), the rows before it.
        num_bytes: Size of the tar.
    """
    return np.array([(num_bytes, zlib.crc32(rows.tobytes()), 0, 0, 0, NO_LABEL)], SAMPLE_DTYPE)


def check_rows(where: str, table: np.ndarray) -> None:
    """Refuse an index that is damaged, or points outside its tar.

    Args:
        where: The tar's path or URL, for the error.
        table: Its index, with the last row; that row's size is the tar's.

    Raises:
        ShardError: If a row is not as it was written, or of no tar of that size.
    """
    rows, num_bytes, crc = table[:-1], table[-1]["header"], table[-1]["offset"]
    header, offset = rows["header"], rows["offset"]
    good = _inside(num_bytes, offset, rows["size"])
    good &= _inside(num_bytes, rows["label_offset"], rows["label_size"])
    good &= (header >= 0) & (header <= offset - tarfile.BLOCKSIZE)
    if crc not in (0, zlib.crc32(rows.tobytes())) or not good.all():
        raise ShardError(
            f"the index of {where} is damaged; run: ssl-swin shards index "
            f"{where.rpartition('/')[0]}"
        )


def _inside(num_bytes: int, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    # Not by the sum of both, which may be too large for int64.
    return (offset >= 0) & (offset <= num_bytes) & (size >= 0) & (size <= num_bytes - offset)


def check_headers(path: Path, rows: np.ndarray, where: Path | str | None = None) -> None:
    """Refuse a tar without an image where its first and last row say: tars often are of one size.

    Args:
        path: The tar.
        rows: Its index, without the last row.
        where: What the error calls it; None means its path.

    Raises:
        ShardError: If there is no header, or one of another size.
    """
    where = path if where is None else where
    with path.open("rb", buffering=0) as file:
        for row in rows[[0, -1]] if len(rows) else []:
            file.seek(int(row["offset"]) - tarfile.BLOCKSIZE)
            try:
                info = tarfile.TarInfo.frombuf(
                    file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape"
                )
            except tarfile.TarError as error:
                raise changed(where, f"no image at {row['offset']}") from error
            if info.size != row["size"] < _LARGE:
                how = f"{row['size']} bytes at {row['offset']} then, {info.size} now"
                raise changed(where, how)


def changed(where: Path | str, how: str) -> ShardError:
    """The error for a tar that is not what its index says."""
    remedy = f"ssl-swin shards index {str(where).rpartition('/')[0]}"
    if is_remote(str(where)):
        remedy += ", where the shards lie if they have an index.json there; or put the old one back"
    return ShardError(f"{where} changed since it was indexed ({how}); run: {remedy}")
