"""The index file of a tar: where the image and the label of each sample are, and what is in none.

Rows of numbers, as numpy writes them, are followed by one JSON object, the *notes*, and by a tail
that tells how long it is. An index of release 0.1 ends with its rows: its notes are empty.
"""

import io
import json
import os
import struct
import tarfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssl_swin.data.shards import left_out
from ssl_swin.data.shards.manifest import Entry
from ssl_swin.data.shards.user_cache import cache_folder, may
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing

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
"""One row a sample, in tar order. A last row holds the tar's size in bytes in `header`, and in
`offset` the CRC-32 of all rows before it; 0 if a version wrote it that made none."""

NO_LABEL, CLS_LABEL, JSON_LABEL = 0, 1, 2
LABEL_KINDS = {"cls": CLS_LABEL, "json": JSON_LABEL, "": NO_LABEL}  # the first that is there counts
NOTES_FORMAT = 2  # of the notes; 1 had none
_NPY_PREFIX = 10  # bytes: magic, version, length of the header
_TAIL = struct.Struct("<8sII")  # a mark, then bytes and CRC-32 of the notes before it
_TAIL_MARK = b"ssl_swin"


def index_beside(tar: Path) -> Path:
    """The index file next to a tar, whether it exists or not."""
    return tar.with_name(f"{tar.name}.index.npy")


def index_path(tar: Path, cache_dir: Path | None = None) -> Path:
    """Where the index of a tar is, or would be: beside it, unless only a cached one can be read."""
    beside, folder = index_beside(tar), cache_folder(tar.parent, cache_dir)
    if folder is None or may(beside, os.R_OK):
        return beside
    return folder / beside.name if may(folder / beside.name, os.R_OK) else beside


def load_index(path: Path, where: str | None = None) -> np.ndarray:
    """Map an index file into memory: `SAMPLE_DTYPE` (count + 1,), its last row with the others.

    Raises:
        ShardError: If there is none, or it is damaged or of another version; it names `where`.
    """
    where = where or str(path)
    remedy = f"run: ssl-swin shards index {where.rpartition('/')[0]}"
    try:
        with path.open("rb") as file:
            head = file.read(_NPY_PREFIX)
            head += file.read(int.from_bytes(head[8:], "little"))
            file_bytes = os.fstat(file.fileno()).st_size
            rows_bytes = file_bytes - len(head) - _read_tail(file, file_bytes)[0]
            num_rows, rest = divmod(rows_bytes, SAMPLE_DTYPE.itemsize)
            # Compared, not parsed: numpy would evaluate it as Python, and fail in many ways.
            if rest or num_rows < 1 or head.split() != _npy_header(num_rows).split():
                raise ShardError(f"{where} is damaged, or no index of this version; {remedy}")
            return np.memmap(file, SAMPLE_DTYPE, "r", offset=len(head), shape=(num_rows,))
    except FileNotFoundError:
        raise ShardError(f"there is no index {where}; {remedy}") from None
    except PermissionError:
        raise ShardError(f"this user may not read the index {where}; {remedy}") from None


def read_notes(path: Path, where: str | None = None) -> dict[str, Any]:
    """Read what an index notes beside its rows; empty for an index of release 0.1.

    Raises:
        ShardError: If they are damaged, or of another version.
    """
    with path.open("rb") as file:
        num_bytes, crc = _read_tail(file, os.fstat(file.fileno()).st_size)
        if not num_bytes:
            return {}
        file.seek(-num_bytes, os.SEEK_END)
        content = file.read(num_bytes - _TAIL.size)
    try:
        notes = json.loads(content) if zlib.crc32(content) == crc else {}
        left_out.parse(notes.get("left_out"))
        if notes["format"] == NOTES_FORMAT:
            return notes
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass  # told below
    where = where or str(path)
    remedy = f"run: ssl-swin shards index {where.rpartition('/')[0]}"
    raise ShardError(f"the notes in {where} are damaged, or of another version; {remedy}")


def read_entry(path: Path, where: str | None = None) -> Entry:
    """Return what an index file says of its tar, what was left out included.

    Raises:
        ShardError: As `load_index` and `read_notes`.
    """
    entry = entry_of(load_index(path, where))
    return entry._replace(left_out=left_out.parse(read_notes(path, where).get("left_out")))


def write_index(path: Path, rows: np.ndarray, num_bytes: int, notes: dict[str, Any]) -> None:
    """Write the index of a tar of `num_bytes`: its rows, `SAMPLE_DTYPE` (count,), and notes."""
    _write(path, np.concatenate([rows, end_row(rows, num_bytes)]), notes)


def add_notes(path: Path, notes: dict[str, Any]) -> None:
    """Write more notes into an index file, or others of the same names; its rows stay.

    Raises:
        ShardError: As `load_index` and `read_notes`.
    """
    _write(path, np.array(load_index(path)), read_notes(path) | notes)


def _write(path: Path, table: np.ndarray, notes: dict[str, Any]) -> None:
    content = json.dumps({"format": NOTES_FORMAT} | notes).encode()
    with replacing(path) as file:
        np.save(file, table)
        file.write(content + _TAIL.pack(_TAIL_MARK, len(content), zlib.crc32(content)))


def _read_tail(file: BinaryIO, file_bytes: int) -> tuple[int, int]:
    """Return how many bytes notes and tail take, and the notes' CRC-32; zeros without a tail."""
    if file_bytes < _TAIL.size:
        return 0, 0
    file.seek(-_TAIL.size, os.SEEK_END)
    mark, num_bytes, crc = _TAIL.unpack(file.read(_TAIL.size))
    return (num_bytes + _TAIL.size, crc) if mark == _TAIL_MARK else (0, 0)


def _npy_header(num_rows: int) -> bytes:
    """What numpy writes before that many rows."""
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, SAMPLE_DTYPE))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header | {"shape": (num_rows,)})
    return buffer.getvalue()


def entry_of(table: np.ndarray) -> Entry:
    """What an index, `SAMPLE_DTYPE` (count + 1,), says of its tar."""
    return Entry(len(table) - 1, int(table[-1]["header"]))


def end_row(rows: np.ndarray, num_bytes: int) -> np.ndarray:
    """Make the last row, (1,), of an index from the rows before it, (count,)."""
    return np.array([(num_bytes, zlib.crc32(rows.tobytes()), 0, 0, 0, NO_LABEL)], SAMPLE_DTYPE)


def check_rows(where: str, table: np.ndarray) -> None:
    """Refuse the index, `SAMPLE_DTYPE` (count + 1,), of the tar called `where`.

    Raises:
        ShardError: If a row is not as it was written, or points outside the tar.
    """
    rows, num_bytes, crc = table[:-1], table[-1]["header"], table[-1]["offset"]
    header, offset = rows["header"], rows["offset"]  # (count,)
    good = _inside(num_bytes, offset, rows["size"])
    good &= _inside(num_bytes, rows["label_offset"], rows["label_size"])
    # A file's header stands before it; that of a hard link, behind the file that it leads to.
    good &= (
        (header >= 0) & (offset >= tarfile.BLOCKSIZE) & (header <= num_bytes - tarfile.BLOCKSIZE)
    )
    good &= (header <= offset - tarfile.BLOCKSIZE) | (header - rows["size"] >= offset)
    if crc not in (0, zlib.crc32(rows.tobytes())) or not good.all():
        remedy = f"run: ssl-swin shards index {where.rpartition('/')[0]}"
        raise ShardError(f"the index of {where} is damaged; {remedy}")


def _inside(num_bytes: int, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    # The sum of offset and size may be too large for int64.
    return (offset >= 0) & (offset <= num_bytes) & (size >= 0) & (size <= num_bytes - offset)


class Indexes:
    """The indexes used last, mapped into memory, each an open file too; they are not pickled."""

    def __init__(self, max_mapped: int = 128) -> None:
        self.max_mapped = max_mapped
        self._tables: OrderedDict[int, np.ndarray] = OrderedDict()

    def rows(self, shard: int, load: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return the rows of a shard, `SAMPLE_DTYPE` (count,); `load` maps its whole index."""
        table = self._tables.pop(shard, None)
        table = load(shard) if table is None else table  # (count + 1,)
        while len(self._tables) >= self.max_mapped:
            self._tables.popitem(last=False)
        self._tables[shard] = table
        return table[:-1]

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled as its content, for every worker.
        return {**self.__dict__, "_tables": OrderedDict()}
