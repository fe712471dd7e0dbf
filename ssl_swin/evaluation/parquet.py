"""Rows -> a Parquet file, by pyarrow, which only this needs."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from ssl_swin.errors import UserError
from ssl_swin.evaluation.rows import Row
from ssl_swin.files import replacing

_ROWS_AT_ONCE = 50_000  # in memory


def require_pyarrow(path: Path) -> None:
    """Refuse a name that ends in .parquet where pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise UserError(
            f"output={path} needs a package that is not here: pip install 'ssl-swin[parquet]', or "
            "give a name that ends in .csv or .jsonl"
        )


def write_parquet(path: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write a Parquet file, whole or not at all: probabilities as float64, all else as text."""
    import pyarrow  # late: an extra that only Parquet needs
    from pyarrow import parquet

    kinds: dict[str, Any] = {
        name: pyarrow.float64() if name.startswith(("probability", "value")) else pyarrow.string()
        for name in names
    }
    schema, left = pyarrow.schema(list(kinds.items())), iter(rows)
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while some := list(islice(left, _ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))
