"""Last stop of the route: run folders -> one table, from their summaries."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_swin.errors import UserError, usable
from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, read_summary

_WIDE = 1000  # characters; without a terminal, lines are as long as the table needs

# header -> the cell of a finished run; None if it has nothing to show
_COLUMNS: dict[str, Callable[[Summary], str | None]] = {
    "kind": lambda run: run.kind,
    "start": lambda run: run.start,
    "labels": lambda run: _number(run.num_labels, ",d"),
    "seed": lambda run: str(run.seed),
    "epochs": lambda run: f"{run.epochs:g}",
    "samples seen": lambda run: _number(run.samples_seen, ",d"),
    "held-out loss": lambda run: _number(run.heldout_loss, ".4f"),
    "top-1": lambda run: _number(run.top1, ".2f"),
    "best top-1": lambda run: _number(run.best_top1, ".2f"),
    "top-5": lambda run: _number(run.top5, ".2f"),
    "lives": lambda run: str(run.lives),
    "minutes (last life)": lambda run: f"{run.seconds / 60:.1f}",
}


@dataclass(frozen=True)
class Group:
    """Fine-tuning runs that differ only in their seed."""

    num_labels: int  # labelled training images
    pretrained: bool  # whether the encoder came from somewhere
    seeds: tuple[int, ...]  # sorted
    top1: tuple[float, ...]  # per cent, in the order of the seeds

    @property
    def mean(self) -> float:
        """Mean top-1 in per cent."""
        return mean(self.top1)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds (n - 1), points; None for a single run."""
        return stdev(self.top1) if len(self.top1) > 1 else None


def report(*runs: Path) -> None:
    """Print one table of all runs; of unfinished ones, how far they got.

    Args:
        runs: Run folders, or folders that hold run folders at any depth.

    Raises:
        UserError: If there is no run, or a summary cannot be read.
    """
    show(results(find_runs(runs)))


def find_runs(places: Iterable[Path]) -> list[RunFolder]:
    """Return the runs at or below these places, each once, by name within each place.

    A run that only waits in the queue is one too.

    Raises:
        UserError: If there are no places, or one of them holds no run.
    """
    found: dict[Path, RunFolder] = {}
    for place in places:
        with usable(str(place)):
            here = [place] if _is_run(place) else _runs_below(place)
        if not here:
            raise UserError(
                f"no runs in {place}: neither it nor a folder below was submitted or started; give "
                "the run_dir of a run, or a folder above several"
            )
        found.update({path.resolve(): RunFolder(path) for path in here})
    if not found:
        raise UserError("no runs are named: give the run_dir of a run, or a folder above several")
    return list(found.values())


def results(folders: list[RunFolder]) -> Table:
    """Put runs into a table; a column that no run fills is left out.

    Each is named by its path below the deepest folder they share.

    Raises:
        UserError: If a summary, or the record of lives, cannot be read.
    """
    above = os.path.commonpath([folder.root.resolve().parent for folder in folders])
    summaries = [read_summary(folder) for folder in folders]
    rows = [
        {"kind": _progress(folder)}
        if summary is None
        else {name: cell(summary) for name, cell in _COLUMNS.items()}
        for folder, summary in zip(folders, summaries, strict=True)
    ]
    used = [name for name in _COLUMNS if any(row.get(name) is not None for row in rows)]
    table = _table("name", *used)
    for folder, row in zip(folders, rows, strict=True):
        name = str(folder.root.resolve().relative_to(above))
        # Text, not str: a name in brackets is no markup
        table.add_row(Text(name), *(Text(row.get(column) or "-") for column in used))
    return table


def groups(summaries: Iterable[Summary]) -> list[Group]:
    """Group fine-tuning runs that differ only in their seed; fewest labels and scratch first.

    Runs without a top-1 (pretraining, no held-out images) are left out.

    Raises:
        UserError: If two runs of a group have the same seed, or no run is left.
    """
    members: dict[tuple[int, bool], dict[int, float]] = defaultdict(dict)
    for run in summaries:
        if run.num_labels is None or run.top1 is None:
            continue
        group = members[run.num_labels, run.start != "scratch"]
        if run.seed in group:
            raise UserError(
                f"two runs with {run.num_labels} labels and the same start have seed {run.seed}, "
                f"one of them {run.name}; compare runs that differ in their seed"
            )
        group[run.seed] = run.top1
    if not members:
        raise UserError("no fine-tuning run with a top-1 to compare; give them data.val_shards")
    return [
        Group(num_labels, pretrained, *zip(*sorted(top1.items()), strict=True))
        for (num_labels, pretrained), top1 in sorted(members.items())
    ]


def compare(summaries: Iterable[Summary]) -> Table:
    """Compare fine-tuning with and without pretraining, over seeds; refuses what `groups` does."""
    table = _table("labels used", "start", "seeds", "top-1 of each", "mean ± sd", "min to max")
    for group in groups(summaries):
        table.add_row(
            f"{group.num_labels:,d}",
            "pretrained" if group.pretrained else "scratch",
            " ".join(map(str, group.seeds)),
            " ".join(f"{top1:.2f}" for top1 in group.top1),
            f"{group.mean:.2f} ± " + ("-" if group.sd is None else f"{group.sd:.2f}"),
            f"{min(group.top1):.2f} to {max(group.top1):.2f}",
        )
    return table


def show(table: Table) -> None:
    """Print a table; without a terminal, its lines are not wrapped."""
    console = Console()
    if not console.is_terminal:
        wide = console.options.update(width=_WIDE)
        console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return any(file.is_file() for file in (folder.summary, folder.lives, folder.jobs))


def _runs_below(place: Path) -> list[Path]:
    found = []
    for name, folders, _ in os.walk(place):
        if _is_run(Path(name)):
            found.append(Path(name))
            folders.clear()  # a run holds no runs
    return sorted(found)


def _progress(folder: RunFolder) -> str:
    """Say how far an unfinished run got: its last point, or where its last life began."""
    if not folder.lives.is_file():
        return "unfinished, not started"
    life = _last_line(folder.lives)
    point = _last_line(folder.metrics) if folder.metrics.is_file() else life
    try:
        step = max(life["step"], point["step"])
        return f"unfinished, step {step:,d} or later, life {life['life']}"
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder.lives} or {folder.metrics} is damaged ({error!r}); name other runs"
        ) from error


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last JSON line that is not cut off."""
    lines = read_lines(path)
    if not lines:
        raise UserError(f"{path} is damaged, no line of it can be read; name other runs")
    return lines[-1]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in headers:
        table.add_column(name, justify="left" if name in ("name", "kind", "start") else "right")
    return table
