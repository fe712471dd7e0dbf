"""Where predictions go: a file that grows by whole rows and goes on from there, or standard output.

Beside a file lies its card, `NAME.json`: of which classifier and which images it is. A line that a
killed process has cut off is dropped. Parquet cannot grow: its rows are JSON lines in
`NAME.rows.jsonl` until all are there; then it is written whole, and these lines go.
"""

import csv
import fcntl
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ssl_swin.errors import UserError, usable
from ssl_swin.evaluation.parquet import require_pyarrow, write_parquet
from ssl_swin.evaluation.rows import Csv, JsonLines, Row, RowText, Tally
from ssl_swin.record.lines import read_json, write_text

_FORMATS: dict[str, Callable[[], RowText]] = {
    ".csv": Csv,
    ".jsonl": JsonLines,
    ".parquet": JsonLines,
}


@dataclass(frozen=True)
class Origin:
    """What the rows of a file depend on; a file goes on with the same alone."""

    run: str  # as it was given; it may move
    classifier: str  # its `fingerprint`
    images: str  # `Images.fingerprint`
    num_images: int
    top_k: int
    flip: bool

    def misfit(self, other: dict[str, object]) -> str:
        """Say in what the origin of another file differs, or nothing."""
        told = {
            "classifier": f"another classifier ({other.get('run')})",
            "images": f"other images ({other.get('num_images')} of them)",
            "num_images": f"other images ({other.get('num_images')} of them)",
            "top_k": f"top_k={other.get('top_k')}",
            "flip": f"flip={other.get('flip')}",
        }
        mine = asdict(self)
        return next((text for name, text in told.items() if other.get(name) != mine[name]), "")


class StandardOutput:
    """CSV on standard output; it has no memory of an earlier start."""

    is_whole = False

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.tally, self._text = names, Tally(), Csv()
        self.lock = threading.Lock()

    def add(self, rows: Iterable[Row]) -> None:
        """Print rows."""
        rows = list(rows)
        with self.lock:
            head = "" if self.tally.num_images else self._text.head(self.names)
            sys.stdout.write(head + "".join(self._text.line(row, self.names) for row in rows))
            sys.stdout.flush()
            self.tally.add(rows)

    def finish(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __str__(self) -> str:
        return "standard output"


class Predictions:
    """A file of predictions; `tally` counts the rows that it has, those of earlier starts first.

    `lock` is held while rows are written: who leaves in the middle takes it first.

    Raises:
        UserError: If the name has another ending, a package is missing, the file is of another
            origin or damaged, or another process writes to it.
    """

    def __init__(self, path: Path, names: Sequence[str], origin: Origin) -> None:
        check_name(path)
        self.path, self.names, self.origin = path, names, origin
        self.tally, self.lock = Tally(), threading.Lock()
        self._text, self._card = _FORMATS[path.suffix](), path.with_name(f"{path.name}.json")
        self._is_parquet = path.suffix == ".parquet"
        self._grows = path.with_name(f"{path.name}.rows.jsonl") if self._is_parquet else path
        with usable(f"output={path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            card = self._read_card()
            self.is_whole = "broken" in card and path.is_file()
            if self.is_whole:
                self.tally = Tally(Counter(card["classes"]), card["broken"])
                return
            self._file = self._grows.open("a+b")
            try:
                self._claim()
                self._go_on()
                write_text(self._card, json.dumps(asdict(origin), indent=2) + "\n")
            except BaseException:
                self._file.close()
                raise

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows at the end; once this returns the system has them."""
        rows = list(rows)
        text = "".join(self._text.line(row, self.names) for row in rows)
        with self.lock:
            if not text:
                return
            self._file.write(text.encode())
            self._file.flush()
            self.tally.add(rows)

    def finish(self) -> None:
        """Make the file whole: all images are in it."""
        if self.is_whole:
            return
        if self._is_parquet:
            write_parquet(self.path, self._rows(), self.names)
        counts = dict(self.tally.classes.most_common())
        found = {"broken": self.tally.num_broken, "classes": counts}
        write_text(self._card, json.dumps(asdict(self.origin) | found, indent=2) + "\n")
        if self._is_parquet:
            self._grows.unlink()

    def close(self) -> None:
        """Let another process write."""
        if not self.is_whole:
            self._file.close()

    def __str__(self) -> str:
        return str(self.path)

    def _read_card(self) -> dict:
        """Read the card of the file that is there; refuse a file of another origin."""
        card = read_json(self._card)
        there = next((one for one in (self.path, self._grows) if one.exists()), None)
        if there is None:
            return {}
        if misfit := self.origin.misfit(card):
            whose = f"holds predictions of {misfit}" if card else "is there and no file of predict"
            raise UserError(
                f"output={self.path}: {there} {whose}; give another output, or move it away"
            )
        return card

    def _claim(self) -> None:
        """Keep other processes from the file, as long as it is open."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"output={self.path}: another process writes to it; wait for it, or give another"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _go_on(self) -> None:
        """Count the rows of the file, and cut off what is no whole one."""
        head, end = self._text.head(self.names).encode(), 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if end or not head:
                self._keep(line)
            elif line != head:
                self._refuse()
            end += len(line)
        if self.tally.num_images > self.origin.num_images:
            self._refuse()
        self._file.truncate(end)
        if not end:
            self._file.write(head)
            self._file.flush()

    def _keep(self, line: bytes) -> None:
        try:
            self.tally.add([self._text.row(line.decode(), self.names)])
        except (ValueError, StopIteration, csv.Error):
            self._refuse()

    def _refuse(self) -> None:
        raise UserError(
            f"output={self.path}: {self._grows} is not as predict left it; move it away, or give "
            "another output"
        )

    def _rows(self) -> Iterator[Row]:
        with self._grows.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield self._text.row(line, self.names)


def check_name(path: Path) -> None:
    """Refuse a name of which the format is not known, or whose package is missing."""
    if path.suffix not in _FORMATS:
        raise UserError(
            f"output={path} has no known ending; give a name that ends in {', '.join(_FORMATS)}, "
            "or - for CSV on standard output"
        )
    if path.suffix == ".parquet":
        require_pyarrow(path)
