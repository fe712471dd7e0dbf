"""Rows of predictions as text: CSV or JSON lines, each row one line, and back."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = dict[str, Any]
"""Column -> its value; a column that is missing is empty."""


def columns(top_k: int, *facts: str) -> tuple[str, ...]:
    """Name the columns of a table: the image, facts known of it, k classes, what is broken."""
    endings = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    ranked = (f"{name}{ending}" for ending in endings for name in ("label", "probability"))
    return ("image", *facts, *ranked, "error")


def row_of(image: str, ranked: Iterable[tuple[str, float]], error: str = "", **facts: Any) -> Row:
    """Put one image into a row: its classes with their probabilities, the most likely first."""
    row: Row = {"image": one_line(image), **facts}
    for rank, (name, probability) in enumerate(ranked, 1):
        ending = "" if rank == 1 else f"_{rank}"
        row[f"label{ending}"] = one_line(name)
        row[f"probability{ending}"] = float(f"{probability:.6g}")
    return row | ({"error": one_line(error)} if error else {})


def one_line(text: str) -> str:
    """Write a name as text of one line: without line breaks, and without what is no UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\n", "\\n").replace("\r", "\\r")


def csv_line(values: Iterable[Any]) -> str:
    """Write one line of CSV; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


class RowText(Protocol):
    """How rows are written; a line ends with a line feed and holds no other."""

    def head(self, names: Sequence[str]) -> str:
        """Return what stands before the rows: a line, or nothing."""

    def line(self, row: Row, names: Sequence[str]) -> str:
        """Return the line of a row."""

    def row(self, line: str, names: Sequence[str]) -> Row:
        """Return the row of a line; ValueError if it is none."""


class Csv:
    """Values between commas, with a head; what is missing is empty."""

    def head(self, names: Sequence[str]) -> str:
        """Return the line of names."""
        return csv_line(names)

    def line(self, row: Row, names: Sequence[str]) -> str:
        """Return the line of a row."""
        return csv_line([row.get(name) for name in names])

    def row(self, line: str, names: Sequence[str]) -> Row:
        """Return the row of a line, all of it text."""
        return dict(zip(names, next(csv.reader([line])), strict=True))


class JsonLines:
    """An object of JSON for each row; what is missing is null."""

    def head(self, names: Sequence[str]) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""

    def line(self, row: Row, names: Sequence[str]) -> str:
        """Return the line of a row."""
        return json.dumps({name: row.get(name) for name in names}, ensure_ascii=False) + "\n"

    def row(self, line: str, names: Sequence[str]) -> Row:
        """Return the row of a line."""
        found = json.loads(line)
        if not isinstance(found, dict) or set(found) != set(names):
            raise ValueError("other columns")
        return found


@dataclass
class Tally:
    """What some rows say: how many there are of each class, and which are broken."""

    classes: Counter[str] = field(default_factory=Counter)
    """Several classes of one image are one text; numbers are none."""
    num_broken: int = 0
    first_broken: str = ""

    def add(self, rows: Iterable[Row]) -> None:
        """Count rows."""
        for row in rows:
            if row.get("error"):
                self.num_broken += 1
                self.first_broken = self.first_broken or f"{row['image']}: {row['error']}"
            else:
                self.classes[str(row.get("label", row.get("labels", "")))] += 1

    @property
    def num_images(self) -> int:
        """Rows that were counted."""
        return self.num_broken + self.classes.total()
