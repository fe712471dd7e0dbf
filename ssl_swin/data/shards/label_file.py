"""The label file of a tar, `NAME.tar.labels`: the class of each of its samples, beside its index.

It is a file of its own and no part of the index, because it may be made long after the index, in
another place, while others have the index mapped into memory.
"""

import json
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from ssl_swin.data.shards.given import MISSING, UNUSABLE
from ssl_swin.data.shards.index_file import CLS_LABEL, JSON_LABEL, NO_LABEL
from ssl_swin.files import replacing

LABEL_LOCK = ".labels.lock"
LONGEST_CLS = 4096  # bytes; a longer text is neither a number nor a name
LONGEST_JSON = 2**24  # bytes; longer ones are not read, so that no label takes all memory
_MAGIC = b"labels 1"
_NUM_HEAD_BYTES = len(_MAGIC) + 12


def labels_beside(index: Path) -> Path:
    """The label file next to an index file, whether it exists or not."""
    return index.with_name(f"{index.name.removesuffix('.index.npy')}.labels")


def parse_labels(content: bytes, rows: np.ndarray, field: str) -> np.ndarray | None:
    """Return the labels, int64 (count,), in the label file of a tar with these index rows.

    None if it is damaged, of another index, or of another field of `.json`.
    """
    labels = content[_NUM_HEAD_BYTES:]
    if len(labels) != 8 * len(rows) or content[:_NUM_HEAD_BYTES] != _head(rows, field, labels):
        return None
    return np.frombuffer(labels, "<i8").astype(np.int64)


def write_labels(path: Path, rows: np.ndarray, field: str, labels: np.ndarray) -> None:
    """Write the labels, int64 (count,), of the tar with these index rows, (count,)."""
    content = labels.astype("<i8").tobytes()
    with replacing(path) as file:
        file.write(_head(rows, field, content) + content)


def _head(rows: np.ndarray, field: str, labels: bytes) -> bytes:
    """What stands before the labels: sums of the rows, of the field if it matters, of them."""
    used = field.encode() if (rows["label_kind"] == JSON_LABEL).any() else b""
    sums = [zlib.crc32(part) for part in (rows.tobytes(), used, labels)]
    return _MAGIC + np.array(sums, "<u4").tobytes()


def parse_label(kind: int, text: bytes, field: str) -> int:
    """Return the class that a label member of this `label_kind` says, or `MISSING`, `UNUSABLE`."""
    if kind == NO_LABEL:
        return MISSING
    if len(text) > (LONGEST_JSON if kind == JSON_LABEL else LONGEST_CLS):
        return UNUSABLE
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        value = int(text) if kind == CLS_LABEL else json.loads(text)[field]
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
    return UNUSABLE


def bytes_to_read(kind: int, num_bytes: int) -> int:
    """Return how much of a label member is read: all, or as much as shows that it is too long."""
    return min(num_bytes, 1 + (LONGEST_JSON if kind == JSON_LABEL else LONGEST_CLS))
