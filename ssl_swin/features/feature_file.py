"""A file of features: Parquet, or a NumPy array with a JSON beside it that names its rows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.errors import UserError, usable
from ssl_swin.evaluation.parquet import require_pyarrow
from ssl_swin.features.store import Features
from ssl_swin.files import replacing
from ssl_swin.record.lines import read_json, write_text

_KEY = "ssl_swin"  # of what a Parquet file says of its origin
_ROWS_AT_ONCE = 10_000  # in memory


@dataclass(frozen=True)
class FeatureTable:
    """Features, and what is known of each image, in one order."""

    keys: Sequence[str]
    labels: Sequence[int | None] | None  # None if no image has one
    classes: Sequence[str] | None  # the name of each label; None if they have none
    features: Features

    def class_of(self, label: int | None) -> str | None:
        """Return the name of a label."""
        if label is None or self.classes is None or label >= len(self.classes):
            return None
        return self.classes[label]


def check_output(path: Path, origin: dict[str, Any]) -> None:
    """Refuse a name that no features can have, and a file that holds something else.

    Raises:
        UserError: If it does not end in .npy or .parquet, its folder cannot be made, pyarrow is
            missing, or there is a file of that name, or the .json beside it, of another origin.
    """
    if path.suffix not in (".npy", ".parquet"):
        raise UserError(f"output={path} must end in .npy or .parquet")
    if path.suffix == ".parquet":
        require_pyarrow(path)
    with usable(f"output={path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
    beside = path.with_suffix(".json")
    held = beside if path.suffix == ".npy" and beside.exists() else path
    if held.exists() and _origin_of(path) != origin:
        raise UserError(
            f"{held} holds something else, such as features of other weights, images or another "
            "layer: give another name, -o, or move it away"
        )


def write_features(path: Path, table: FeatureTable, origin: dict[str, Any]) -> None:
    """Write features to a file, whole or not at all, and what they are of.

    A .npy is float32 (images, num_features), with NaN for an image that cannot be decoded; the
    .json beside it has keys, labels and classes. In a Parquet file such an image has null features.
    """
    if path.suffix == ".parquet":
        _write_parquet(path, table, origin)
        return
    labels = {"labels": table.labels, "classes": table.classes}
    broken = np.flatnonzero(~table.features.good).tolist()
    told = {"origin": origin, "keys": list(table.keys), **labels, "broken": broken}
    write_text(path.with_suffix(".json"), json.dumps(told))  # first: it says whose the other is
    with replacing(path) as file:
        np.save(file, table.features.values)


def _write_parquet(path: Path, table: FeatureTable, origin: dict[str, Any]) -> None:
    import pyarrow  # late: an extra that only Parquet needs
    from pyarrow import parquet

    kinds: dict[str, Any] = {"key": pyarrow.string()}
    if table.labels is not None:
        kinds["label"] = pyarrow.int64()
    if table.classes is not None:
        kinds["class"] = pyarrow.string()
    kinds["features"] = pyarrow.list_(pyarrow.float32())
    schema = pyarrow.schema(list(kinds.items()), {_KEY: json.dumps(origin)})
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for columns in _columns(table):
            columns["features"] = _as_lists(*columns["features"])
            arrays = [pyarrow.array(columns[name], kind) for name, kind in kinds.items()]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _columns(table: FeatureTable) -> Iterator[dict[str, Any]]:
    """Yield some rows at a time, as columns."""
    for start in range(0, len(table.keys), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        labels = (table.labels or [None] * len(table.keys))[rows]
        yield {
            "key": list(table.keys[rows]),
            "label": list(labels),
            "class": [table.class_of(one) for one in labels],
            "features": (table.features.values[rows], table.features.good[rows]),
        }


def _as_lists(values: np.ndarray, good: np.ndarray) -> Any:
    """Return rows as an array of lists of pyarrow, null where a row is not good."""
    import pyarrow  # late: as above

    lengths = np.where(good, values.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = pyarrow.array(values[good].ravel(), pyarrow.float32())
    missing = pyarrow.array(~good)
    return pyarrow.ListArray.from_arrays(offsets, flat, mask=missing)


def _origin_of(path: Path) -> dict[str, Any] | None:
    """Return what the features of a file are of; None if it says nothing."""
    if path.suffix == ".npy":
        return (read_json(path.with_suffix(".json")) or {}).get("origin")
    import pyarrow  # late: as above
    from pyarrow import parquet

    try:
        told = (parquet.read_schema(path).metadata or {}).get(_KEY.encode())
        return None if told is None else json.loads(told)
    except (pyarrow.ArrowInvalid, ValueError):
        return None
