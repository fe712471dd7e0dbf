"""The images that a list names: a CSV or JSON lines, with path, label, group and set of each."""

import csv
import io
import json
import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_swin.data.labelling.names import classes_of
from ssl_swin.data.shards.left_out import (
    NO_LABEL,
    NOT_LISTED,
    NOT_THERE,
    SEVERAL,
    TWICE,
    LeftOut,
    leave_out,
)
from ssl_swin.errors import ShardError, UserError, usable
from ssl_swin.shard_tools.source import ImageFile, Source, files_and_folders

# What such columns are often called, the first of which is taken; in any case of letters.
_PATHS = "path file file_name filename filepath file_path image image_path img_path img"
_LABELS = "label class class_name category target"
_LARGEST_FIELD = 2**24  # characters; Python's own limit is 2**17
Row = Mapping[str, str]


@dataclass(frozen=True)
class Columns:
    """What the columns of a list are called; None for those that it has not."""

    path: str
    label: str | None
    group: str | None
    split: str | None

    def told(self) -> str:
        """Say which column is what."""
        named = {"label": self.label, "group": self.group, "set": self.split}
        parts = [f"{what} from {name!r}" for what, name in named.items() if name is not None]
        return ", ".join([f"path from {self.path!r}", *parts])


def list_rows(
    source: Path, file: Path, asked: Mapping[str, str | None], classes: Sequence[str] | None
) -> Source:
    """Find the images that a list names, below a source or from the list's own folder.

    A path may lack its extension or its folder, if one image of the source fits. Where the list has
    no labels, folders of the source that hold all images are the classes. What is not there, named
    twice or without a label, and images that the list does not name, are left out.

    Args:
        source: Folder of the images.
        file: CSV with any of `,;|` or tabs between its columns, or JSON lines.
        asked: Columns as the user calls them: path, label, group, split.
        classes: The classes, in the order of their numbers, if they are given.

    Raises:
        UserError: If the list cannot be read or lacks a column, or no image is there.
        ShardError: If its labels are not among the classes, or an image has two of them.
    """
    with usable(f"csv={file}"):
        names, rows = _read_json(file) if _is_json(file) else _read_csv(file)
    columns = _choose(names, asked, file)
    left_out: LeftOut = {}
    found = {
        name: ImageFile(name, size, None)
        for name, size in files_and_folders(source, left_out)
        if size is not None
    }
    texts: dict[str, str] = {}
    files = _named(rows, columns, _Finder(source, file, found), left_out, texts)
    for name in sorted(found.keys() - files.keys()):
        leave_out(left_out, NOT_LISTED, name)
    if columns.label is None:
        texts = _folders(files)
    told = [f"{file}: {columns.told()}"]
    known: list[str] = []
    if texts:
        known, number, more = classes_of(Counter(texts.values()), classes, f"csv={file}")
        told += more
        files = {name: replace(one, label=number[texts[name]]) for name, one in files.items()}
    return Source([files[name] for name in sorted(files)], known, left_out, [], told)


def _folders(names: Collection[str]) -> dict[str, str]:
    """Return the folder of the source that each file is in; none if they are not all in several."""
    inside = {name: name.partition("/")[0] for name in names if "/" in name}
    return inside if len(inside) == len(names) and len({*inside.values()}) > 1 else {}


def _is_json(file: Path) -> bool:
    return file.suffix.lower() in (".json", ".jsonl", ".ndjson")


def _read_csv(file: Path) -> tuple[list[str], Iterable[Row]]:
    text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    head = text.partition("\n")[0]
    lines = io.StringIO(text, newline="")  # no other character than these ends a line
    rows = csv.reader(lines, delimiter=max(",;\t|", key=head.count))
    limit = csv.field_size_limit(_LARGEST_FIELD)  # of the whole process, so it is put back
    try:
        names = [name.strip() for name in next(rows, [])]
        return names, [dict(zip(names, row, strict=False)) for row in rows if row]
    except csv.Error as error:
        raise UserError(f"csv={file} is no CSV, mend line {rows.line_num}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _read_json(file: Path) -> tuple[list[str], Iterable[Row]]:
    text = file.read_bytes().decode("utf-8-sig", "surrogateescape").strip()
    try:
        whole = text.startswith("[")
        rows = json.loads(text) if whole else [json.loads(x) for x in text.split("\n") if x.strip()]
        rows = [{key: _text(value) for key, value in row.items()} for row in rows]
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"csv={file} is no list of JSON objects ({error}); give one object a line"
        ) from error
    return list(dict.fromkeys(key for row in rows for key in row)), rows


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _choose(names: Sequence[str], asked: Mapping[str, str | None], file: Path) -> Columns:
    """Return which column is what; a column that is asked for must be there."""
    for what, name in asked.items():
        if name is not None and name not in names:
            flag = "--split" if what == "split" else f"--{what}-column"
            raise UserError(f"csv={file} has no column {name!r} ({flag}); give {_quoted(names)}")
    lower = {name.lower(): name for name in reversed(names)}
    path, label = (
        asked.get(what) or next((lower[name] for name in usual.split() if name in lower), None)
        for what, usual in (("path", _PATHS), ("label", _LABELS))
    )
    if path is None:
        raise UserError(
            f"csv={file} has the columns {_quoted(names)}, and none of them is called path; say "
            "which one names the images: --path-column NAME"
        )
    group = asked.get("group") or lower.get("group")
    return Columns(path, label, group, asked.get("split"))


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "no columns"


def _named(
    rows: Iterable[Row],
    columns: Columns,
    finder: "_Finder",
    left_out: LeftOut,
    texts: dict[str, str],
) -> dict[str, ImageFile]:
    """Return the files that the rows name, by name, and write the label of each into `texts`."""
    files: dict[str, ImageFile] = {}
    missed = ""
    for row in rows:
        path = row.get(columns.path, "")
        label, group, split = (
            "" if name is None else row.get(name, "").strip()
            for name in (columns.label, columns.group, columns.split)
        )
        found = finder.find(path.strip())
        if isinstance(found, str):
            missed = missed or path
            leave_out(left_out, found, path)
        elif columns.label is not None and not label:
            leave_out(left_out, NO_LABEL, path)
        elif texts.setdefault(found.name, label) != label:
            raise ShardError(
                f"{finder.list}: {found.name!r} has two labels, {texts[found.name]!r} and "
                f"{label!r}; an image has one class: leave one of the rows"
            )
        elif found.name in files:
            leave_out(left_out, TWICE, path)
        else:
            files[found.name] = replace(found, group=group or None, split=split, listed=True)
    if not files:
        where = f"; {missed!r} is neither in {finder.source} nor beside the list" if missed else ""
        raise UserError(
            f"csv={finder.list} names no image that is there{where}; give the folder of the images "
            "as the source, or another --path-column"
        )
    return files


class _Finder:
    """Finds the file that a list means by a path."""

    def __init__(self, source: Path, file: Path, found: Mapping[str, ImageFile]) -> None:
        self.source, self.list, self._found = source, file, found
        self._ends: dict[str, list[str]] = {}  # a name without its folder, without its extension
        for name in found:
            base = posixpath.basename(name)
            for end in {base, os.path.splitext(base)[0]}:
                self._ends.setdefault(end, []).append(name)

    def find(self, path: str) -> ImageFile | str:
        """Return the file, or the reason why there is none."""
        if not path:
            return NOT_THERE
        path = posixpath.normpath(path.replace("\\", "/"))
        for start in (self.source, self.list.parent):
            place = os.path.join(start, path)
            name = os.path.relpath(place, self.source).replace(os.sep, "/")
            if name in self._found:
                return self._found[name]
            if name.startswith("../") and os.path.isfile(place):
                place = os.path.abspath(place)
                return ImageFile(place, os.path.getsize(place), None)
        ends = self._ends.get(posixpath.basename(path), [])
        within = [one for one in ends if os.path.splitext(one)[0].endswith(path)] or ends
        if len(within) == 1:
            return self._found[within[0]]
        return SEVERAL if within else NOT_THERE
