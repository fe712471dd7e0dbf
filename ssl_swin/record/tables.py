"""Runs as tables: what they found, how far they got; for a terminal, as Markdown and as CSV."""

import csv
import io
import math
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_swin.errors import UserError
from ssl_swin.record.curves import last_point
from ssl_swin.record.lines import read_lines
from ssl_swin.record.lives import spent
from ssl_swin.record.loaded import CAME, read_loaded
from ssl_swin.record.measures import MEASURES
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, read_summary

Cells = dict[str, str | None]  # header -> cell; None if a run has nothing to show there
_WORDS = ("name", "ended", "seeds", "kind")  # columns of words, which are set on the left
Columns = dict[str, Callable[[Summary], str | None]]  # header -> the cell of a finished run

_HOW: Columns = {
    "labels": lambda run: _number(run.num_labels, ",d"),
    "start": lambda run: "scratch" if run.start == "scratch" else "pretrained",
    "seed": lambda run: str(run.seed),
}
# table -> its columns, what is asked for most on the left
_COLUMNS: dict[str, Columns] = {
    "finetune": {
        "top-1": lambda run: _number(run.top1, ".2f"),
        "balanced": lambda run: _number(run.balanced_top1, ".2f"),
        "best": lambda run: _best(run, "top1"),
        "AUROC": lambda run: _number(run.auroc, ".4f"),
        "top-5": lambda run: _number(run.top5, ".2f"),
        **_HOW,
    },
    "multi-label": {
        "mAP": lambda run: _number(run.map, ".2f"),
        "best": lambda run: _best(run, "map"),
        "macro F1": lambda run: _number(run.macro_f1, ".2f"),
        "AUROC": lambda run: _number(run.auroc, ".4f"),
        **_HOW,
    },
    "regression": {
        "R2": lambda run: _number(run.r2, ".4f"),
        "best": lambda run: _best(run, "r2"),
        "MAE": lambda run: _number(run.mae, ".4g"),
        "loss": lambda run: _number(run.heldout_loss, ".4f"),
        **_HOW,
    },
    "pretrain": {
        "kNN, %": lambda run: _number(run.knn, ".2f"),
        "held-out": lambda run: _number(run.heldout_loss, ".4f"),
        "loss": lambda run: _number(run.train_loss, ".4f"),
        "epochs": lambda run: f"{run.epochs:.4g}",
        "images": lambda run: _short(run.samples_seen),
        "seed": lambda run: str(run.seed),
    },
}
_TITLES = {
    "finetune": "Fine-tuned, best first; top-1 in per cent of the held-out images",
    "multi-label": "Several classes, best first; held-out images, per cent",
    "regression": "Numbers, best first; held-out images, MAE in units of the labels",
    "pretrain": "Pretrained; loss on held-out images, and of the last steps",
    "unfinished": "Not finished",
    "loaded": "Weights that runs began with, in tensors; loaded.json names them",
}
_TASKS = {"finetune": "top1", "multi-label": "map", "regression": "r2"}  # what each is judged by
_LEAST = {"finetune": "top-5", "regression": "loss"}  # the column that tells least
NOT_SHOWN = "-"
_NAME_WIDE = 16  # characters of a name, before it is broken into lines


def results(folders: list[RunFolder]) -> list[Table]:
    """Put runs into a table of each kind; a column that no run fills is left out.

    Each is named by its path below the deepest folder they share.

    Raises:
        UserError: If a summary, or the record of lives, cannot be read.
    """
    above = os.path.commonpath([folder.root.resolve().parent for folder in folders])
    rows: dict[str, list[Cells]] = {kind: [] for kind in _TITLES}
    for folder, summary in best_first(folders):
        cells: Cells = {"name": str(folder.root.resolve().relative_to(above))}
        if (found := read_loaded(folder)) is not None:
            counts = ((what, len(found.named[what])) for what in CAME)
            came: Cells = {what: f"{count:,d}" for what, count in counts if count}
            rows["loaded"].append(cells | {"kind": found.kind} | came)
        if summary is None:
            rows["unfinished"].append(cells | _progress(folder))
            continue
        kind = _table_of(summary)
        cells |= {name: cell(summary) for name, cell in _COLUMNS[kind].items()}
        minutes = (spent(folder).seconds or summary.seconds) / 60
        cells |= {"min": f"{minutes:.1f}"}
        if kind == "pretrain" and summary.lives > 1:
            cells |= {"lives": str(summary.lives)}
        rows[kind].append(cells)
    for kind, column in _LEAST.items():
        if any(" " in (row["best"] or "") for row in rows[kind]):  # whose words need room
            for row in rows[kind]:
                del row[column]
    return [table(_TITLES[kind], of_kind) for kind, of_kind in rows.items() if of_kind]


def best_first(folders: list[RunFolder]) -> list[tuple[RunFolder, Summary | None]]:
    """Return runs with their summaries: by task the best first, then the others as they are."""
    known = [(folder, read_summary(folder)) for folder in folders]
    return sorted(known, key=lambda run: _rank(run[1]))


def _rank(run: Summary | None) -> tuple[int, float]:
    """Return the place of a run's task, and how bad it is there."""
    if run is None or run.kind == "pretrain":
        return len(_TASKS), 0.0
    task = _table_of(run)
    value = getattr(run, _TASKS[task])
    return [*_TASKS].index(task), math.inf if value is None else -value


def _table_of(run: Summary) -> str:
    return run.task if run.task in _TASKS else run.kind


def _best(run: Summary, usual: str) -> str | None:
    """Write the best that a run kept; and by which measure, if that is not the usual one."""
    name = (run.best_metric or f"best_{usual}").removeprefix("best_")
    value, measure = getattr(run, f"best_{name}", None), MEASURES.get(name)
    if value is None or measure is None:
        return None
    return format(value, measure.form) + ("" if name == usual else f" {measure.word}")


def _progress(folder: RunFolder) -> Cells:
    """Say how far an unfinished run got: its last points, or where its last life began."""
    if not folder.lives.is_file():
        return {"step": "not started"}
    life = _last_line(folder.lives)
    point = next(reversed(read_lines(folder.metrics)), life)  # its first one may be half written
    try:
        step, number = max(life["step"], point["step"]), life["life"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder.lives} or {folder.metrics} is damaged ({error!r}); name other runs"
        ) from error
    ends = [end for end in read_lines(folder.ends) if end.get("life") == number]
    return {
        "step": f"{step:,d}",
        "loss": _number(last_point(folder, "train/loss"), ".4f"),
        **{
            measure.word: _number(last_point(folder, f"heldout/{name}"), measure.form)
            for name, measure in MEASURES.items()
            if name in ("top1", "map", "mae", "r2")
        },
        "kNN, %": _number(last_point(folder, "quality/knn"), ".2f"),
        "life": str(number),
        "ended": str(ends[0].get("reason")) if ends else "goes on, or was killed",
    }


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last JSON line that is not cut off."""
    lines = read_lines(path)
    if not lines:
        raise UserError(f"{path} is damaged, no line of it can be read; name other runs")
    return lines[-1]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def show(table: Table) -> None:
    """Print a table, in 80 columns where there is no terminal that says how many it has."""
    Console().print(table)


def table(title: str, rows: list[Cells]) -> Table:
    """Return a table with the columns that a row fills; only words are broken into lines."""
    found = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    names = dict.fromkeys(name for row in rows for name in row)
    used = [name for name in names if any(row.get(name) is not None for row in rows)]
    for name in used:
        words = name in _WORDS
        found.add_column(
            name,
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            min_width=_NAME_WIDE if name == "name" else None,
        )
    for row in rows:
        # Text, not str: a name in brackets is no markup
        found.add_row(*(Text(row.get(name) or NOT_SHOWN) for name in used))
    return found


def _short(count: int) -> str:
    """Say a large number in four digits or so."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 10 * size:
            return f"{count / size:,.0f} {unit}"
    return f"{count:,d}"


def as_markdown(tables: list[Table]) -> str:
    """Return tables in GitHub's Markdown."""
    texts = []
    for table in tables:
        columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
        rows = [f"| {' | '.join(row)} |" for row in zip(*columns, strict=True)]
        rule = "|" + "|".join(":--" if one.justify == "left" else "--:" for one in table.columns)
        texts.append("\n".join([f"**{table.title}**", "", rows[0], f"{rule}|", *rows[1:], ""]))
    return "\n".join(texts)


def as_csv(folders: list[RunFolder]) -> str:
    """Return a line for each run: its folder, and its summary if it is finished."""
    names = ["run", *(one.name for one in fields(Summary))]
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for folder in folders:
        summary = read_summary(folder)
        writer.writerow({"run": folder.root} | ({} if summary is None else asdict(summary)))
    return file.getvalue()
