"""A file of labels: CSV, or Parquet, with the columns `key` and `label` -> its rows, one by one."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ssl_swin.data.shards.names import printable
from ssl_swin.errors import UserError, usable

KEY, LABEL = "key", "label"
_LONGEST_LINE = 2**20  # characters
_LONGEST_CELL = 100_000  # characters; Python's own limit is larger, and others may move it
_ROWS_AT_ONCE = 10_000  # of Parquet, in memory
_PARQUET = b"PAR1"


class Row(NamedTuple):
    """One row: where it is, for people; which sample it is of; and its label, as it is there."""

    place: str
    key: str
    value: Any


def read_rows(path: Path, name: str) -> Iterator[Row]:
    """Yield the rows of a file, which errors call `name`; little of it is in memory at once.

    Raises:
        UserError: If it is neither, has no such columns, or a row is damaged.
    """
    with usable(name):
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        yield from (_parquet if is_parquet else _csv)(path, name)


def _csv(path: Path, name: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _lines(file, name)
        try:
            head = next(lines, "")
            between = "\t" if "\t" in head else ","
            names = [one.strip() for one in next(csv.reader([head], delimiter=between), [])]
            at = _columns(names, name)
            rows = csv.reader(lines, delimiter=between, strict=True)
            for cells in rows:
                place = f"line {rows.line_num + 1}"
                if cells and len(cells) != len(names):
                    raise UserError(
                        f"{name}, {place}, has {len(cells)} cells, and its first line names "
                        f"{len(names)}; put what holds a comma between double quotes"
                    )
                if any(len(cell) > _LONGEST_CELL for cell in cells):
                    raise UserError(
                        f"{name}, {place}, has a cell of more than {_LONGEST_CELL:,} characters; "
                        "close its quotes, or write one sample a line"
                    )
                if cells:
                    yield Row(place, cells[at[0]].strip(), cells[at[1]])
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name} is neither Parquet nor text in UTF-8; save it as CSV in UTF-8"
            ) from error
        except csv.Error as error:
            raise UserError(f"{name} is no CSV: {error}; save it as CSV in UTF-8") from error


def _lines(file: TextIO, name: str) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(("\n", "\r")):
            raise UserError(
                f"{name} has a line of more than {_LONGEST_LINE:,} characters, so it is no list of "
                "labels; write one sample a line"
            )
        if "\0" in line:
            raise UserError(f"{name} holds bytes that are no text; save it as CSV in UTF-8")
        yield line


def _columns(names: list[str], name: str) -> tuple[int, int]:
    """Return which columns hold keys and labels."""
    if {KEY, LABEL} - {*names}:
        shown = ", ".join(repr(printable(one)[:40]) for one in names[:5]) or "none"
        raise UserError(
            f"{name} has the columns {shown}; give a CSV whose first line is {KEY},{LABEL}, or "
            "Parquet with these columns"
        )
    for one in (KEY, LABEL):
        if names.count(one) > 1:
            raise UserError(f"{name} has {names.count(one)} columns {one}; leave one of them")
    return names.index(KEY), names.index(LABEL)


def _parquet(path: Path, name: str) -> Iterator[Row]:
    try:
        import pyarrow  # late: an extra that only Parquet needs
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name} needs a package that is not here: pip install 'ssl-swin[parquet]', or write "
            "it as CSV"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            _columns(schema.names, name)
            kind = schema.field(KEY).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise UserError(
                    f"{name}: its column {KEY} is of type {kind}; write the keys of samples as text"
                )
            batches = file.iter_batches(_ROWS_AT_ONCE, columns=[KEY, LABEL])
            columns = ((each.column(KEY), each.column(LABEL)) for each in batches)
            pairs = chain.from_iterable(zip(*both, strict=True) for both in columns)
            for num, (key, value) in enumerate(pairs, 1):
                yield Row(f"row {num}", (key.as_py() or "").strip(), value.as_py())
    except UnicodeDecodeError as error:
        raise UserError(f"{name} holds text that is not UTF-8; write it again") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{name} is damaged, or no Parquet: {printable(str(error))[:200]}; write it again"
        ) from error
