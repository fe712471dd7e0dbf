"""Last stop of the route: run folders -> one table, from their summaries."""

import csv
import io
import os
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl_swin.errors import UserError, usable
from ssl_swin.record.curves import last_point
from ssl_swin.record.lines import read_lines, write_text
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, read_summary

Cells = dict[str, str | None]  # header -> cell; None if a run has nothing to show there
_WORDS = ("name", "start", "ended", "seeds")  # columns of words, which are set on the left

# header -> the cell of a finished run, what is asked for most on the left
_COLUMNS: dict[str, dict[str, Callable[[Summary], str | None]]] = {
    "finetune": {
        "top-1": lambda run: _number(run.top1, ".2f"),
        "balanced": lambda run: _number(getattr(run, "balanced_top1", None), ".2f"),
        "best": lambda run: _number(run.best_top1, ".2f"),
        "top-5": lambda run: _number(run.top5, ".2f"),
        "loss": lambda run: _number(run.heldout_loss, ".4f"),
        "labels": lambda run: _number(run.num_labels, ",d"),
        "start": lambda run: "scratch" if run.start == "scratch" else "pretrained",
        "seed": lambda run: str(run.seed),
    },
    "pretrain": {
        "held-out loss": lambda run: _number(run.heldout_loss, ".4f"),
        "loss": lambda run: _number(run.train_loss, ".4f"),
        "epochs": lambda run: f"{run.epochs:.4g}",
        "images seen": lambda run: _number(run.samples_seen, ",d"),
        "seed": lambda run: str(run.seed),
    },
}
_TITLES = {
    "finetune": "Fine-tuned, best first; top-1 in per cent of the held-out images",
    "pretrain": "Pretrained",
    "unfinished": "Not finished",
}
_NOT_SHOWN = "-"


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


def report(*runs: Path, output: Path | None = None) -> None:
    """Print finished runs, how far the others got, and what to type next.

    Args:
        runs: Run folders, or folders that hold run folders at any depth.
        output: A file for the same tables: .md for Markdown, .csv for all fields of each summary.

    Raises:
        UserError: If there is no run, or a summary cannot be read.
    """
    if output is not None and output.suffix not in (".md", ".csv"):
        raise UserError(f"--output {output} must end in .md or .csv")
    folders = find_runs(runs)
    tables = results(folders)
    for table in tables:
        show(table)
    for line in next_commands(folders):
        print(line)
    if output is not None:
        write_text(output, _as_csv(folders) if output.suffix == ".csv" else _as_markdown(tables))
        print(f"written: {output}")


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


def results(folders: list[RunFolder]) -> list[Table]:
    """Put runs into a table of each kind; a column that no run fills is left out.

    Each is named by its path below the deepest folder they share.

    Raises:
        UserError: If a summary, or the record of lives, cannot be read.
    """
    above = os.path.commonpath([folder.root.resolve().parent for folder in folders])
    rows: dict[str, list[Cells]] = {kind: [] for kind in _TITLES}
    for folder, summary in _best_first(folders):
        cells: Cells = {"name": str(folder.root.resolve().relative_to(above))}
        if summary is None:
            rows["unfinished"].append(cells | _progress(folder))
            continue
        cells |= {name: cell(summary) for name, cell in _COLUMNS[summary.kind].items()}
        lives = None if summary.lives == 1 else str(summary.lives)
        minutes = _seconds(folder, summary) / 60
        rows[summary.kind].append(cells | {"minutes": f"{minutes:.1f}", "lives": lives})
    return [_table(_TITLES[kind], of_kind) for kind, of_kind in rows.items() if of_kind]


def next_commands(folders: list[RunFolder]) -> Iterator[str]:
    """Yield, in lines, what to type next: with the best classifier, or the newest encoder."""
    known = _best_first(folders)
    unfinished = [folder for folder, summary in known if summary is None]
    tuned = [folder for folder, summary in known if summary and summary.kind == "finetune"]
    pretrained = [folder for folder, summary in known if summary and summary.kind == "pretrain"]
    yield "next:"
    if tuned:
        yield f"  ssl-swin predict {_word(tuned[0].root)} NEW_IMAGES -o predictions.csv"
    elif pretrained:
        root = max(pretrained, key=lambda folder: folder.summary.stat().st_mtime).root
        yield f"  ssl-swin finetune --encoder {_word(root)} \\"
        yield "    --data.shards LABELLED/train --data.val-shards LABELLED/val \\"
        yield f"    --run-dir {_word(root.parent / 'finetune')}"
    for folder in unfinished[:1]:
        yield f"  ssl-swin status {_word(folder.root)}    # where it stands, and since when"
    shared = os.path.commonpath([folder.root.absolute() for folder in folders])
    yield f"  tensorboard --logdir {_word(Path(os.path.relpath(shared)))}"


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
    rows: list[Cells] = [
        {
            "labels used": f"{group.num_labels:,d}",
            "start": "pretrained" if group.pretrained else "scratch",
            "top-1, mean ± sd": f"{group.mean:.2f} ± "
            + (_NOT_SHOWN if group.sd is None else f"{group.sd:.2f}"),
            "seeds": " ".join(map(str, group.seeds)),
            "top-1 of each": " ".join(f"{top1:.2f}" for top1 in group.top1),
        }
        for group in groups(summaries)
    ]
    return _table("", rows)


def show(table: Table) -> None:
    """Print a table, in 80 columns where there is no terminal that says how many it has."""
    Console().print(table)


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


def _best_first(folders: list[RunFolder]) -> list[tuple[RunFolder, Summary | None]]:
    """Return runs with their summaries, the largest top-1 first, the others as they are."""
    known = [(folder, read_summary(folder)) for folder in folders]
    return sorted(known, key=lambda run: -(run[1].top1 or 0) if run[1] else 0)


def _seconds(folder: RunFolder, summary: Summary) -> float:
    """Return how long all lives trained, of those that wrote it down."""
    ends = {end.get("life"): end.get("seconds") for end in reversed(read_lines(folder.ends))}
    return sum(filter(None, ends.values())) or summary.seconds


def _progress(folder: RunFolder) -> Cells:
    """Say how far an unfinished run got: its last points, or where its last life began."""
    if not folder.lives.is_file():
        return {"step": "not started"}
    life = _last_line(folder.lives)
    point = _last_line(folder.metrics) if folder.metrics.is_file() else life
    try:
        step, number = max(life["step"], point["step"]), life["life"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder.lives} or {folder.metrics} is damaged: {error!r}") from error
    ends = [end for end in read_lines(folder.ends) if end.get("life") == number]
    return {
        "step": f"{step:,d}",
        "loss": _number(last_point(folder, "train/loss"), ".4f"),
        "top-1": _number(last_point(folder, "heldout/top1"), ".2f"),
        "life": str(number),
        "ended": str(ends[0].get("reason")) if ends else "goes on, or was killed",
    }


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last JSON line that is not cut off."""
    lines = read_lines(path)
    if not lines:
        raise UserError(f"{path} is damaged: no line of it can be read")
    return lines[-1]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _table(title: str, rows: list[Cells]) -> Table:
    """Return a table with the columns that a row fills; only words are broken into lines."""
    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold"
    )
    table.padding = (0, 2, 0, 0)
    used = [name for name in rows[0] if any(row.get(name) is not None for row in rows)]
    used = list(dict.fromkeys([*used, *(name for row in rows for name in row if row[name])]))
    for name in used:
        words = name in _WORDS
        table.add_column(
            name, justify="left" if words else "right", no_wrap=not words, overflow="fold"
        )
    for row in rows:
        # Text, not str: a name in brackets is no markup
        table.add_row(*(Text(row.get(name) or _NOT_SHOWN) for name in used))
    return table


def _as_markdown(tables: list[Table]) -> str:
    texts = []
    for table in tables:
        columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
        rows = [f"| {' | '.join(row)} |" for row in zip(*columns, strict=True)]
        rule = "|" + "|".join(":--" if one.justify == "left" else "--:" for one in table.columns)
        texts.append("\n".join([f"**{table.title}**", "", rows[0], f"{rule}|", *rows[1:], ""]))
    return "\n".join(texts)


def _as_csv(folders: list[RunFolder]) -> str:
    """Return a line for each run: its folder, and its summary if it is finished."""
    names = ["run", *(one.name for one in fields(Summary))]
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for folder in folders:
        summary = read_summary(folder)
        writer.writerow({"run": folder.root} | ({} if summary is None else asdict(summary)))
    return file.getvalue()
