"""Last stop of the route: run folders -> what they found, compared, and what to type next."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table

from ssl_swin.errors import UserError, usable
from ssl_swin.record.lines import write_text
from ssl_swin.record.lives import is_evaluation
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary
from ssl_swin.record.tables import (
    NOT_SHOWN,
    Cells,
    as_csv,
    as_markdown,
    best_first,
    results,
    show,
    table,
)
from ssl_swin.typed import quoted, wrapped


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
        output: A file for more: .html for a page with curves and pictures, .md for these tables,
            .csv for all fields of each summary.

    Raises:
        UserError: If there is no run, or a summary cannot be read.
    """
    if output is not None and output.suffix not in _WRITERS:
        raise UserError(f"--output {output} must end in {', '.join(_WRITERS)}")
    folders = find_runs(runs)
    tables = results(folders)
    for one in tables:
        show(one)
        print()
    for line in next_commands(folders):
        print(line)
    if output is not None:
        with usable(f"--output {output}"):
            _WRITERS[output.suffix](output, folders)
        print(f"written: {output}")
        if output.suffix == ".html":
            print(f"open it in a browser, here or after copying it anywhere: {output.resolve()}")


def _write_html(path: Path, folders: list[RunFolder]) -> None:
    # late, for speed: templates and pictures
    from ssl_swin.record.page.write import write_page

    write_page(path, folders)


_WRITERS: dict[str, Callable[[Path, list[RunFolder]], None]] = {
    ".html": _write_html,
    ".md": lambda path, folders: write_text(path, as_markdown(results(folders))),
    ".csv": lambda path, folders: write_text(path, as_csv(folders)),
}
"""Ending of a file -> what writes it."""


def find_runs(places: Iterable[Path], evaluations: bool = False) -> list[RunFolder]:
    """Return the runs at or below these places, each once, by name within each place.

    A run that only waits in the queue is one too. `evaluations` says whether what `submit` queued
    of these counts as well, if it lies in no run.

    Raises:
        UserError: If there are no places, or one of them holds no run.
    """
    found: dict[Path, RunFolder] = {}
    for place in places:
        with usable(str(place)):
            here = [place] if _is_run(place, evaluations) else _runs_below(place, evaluations)
        if not here:
            if not place.exists():
                raise UserError(
                    f"{place}: there is no such run folder; give the run_dir of a run, or a folder "
                    "above several"
                )
            raise UserError(
                f"no runs in {place}: neither it nor a folder below was submitted or started; give "
                "the run_dir of a run, or a folder above several"
            )
        found.update({path.resolve(): RunFolder(path) for path in here})
    if not found:
        raise UserError("no runs are named: give the run_dir of a run, or a folder above several")
    return list(found.values())


def next_commands(folders: list[RunFolder]) -> Iterator[str]:
    """Yield, in lines, what to type next: with the best classifier, or the newest encoder."""
    known = best_first(folders)
    unfinished = [folder for folder, summary in known if summary is None]
    tuned = [folder for folder, summary in known if summary and summary.kind == "finetune"]
    pretrained = [folder for folder, summary in known if summary and summary.kind == "pretrain"]
    yield "next:"
    if tuned:
        yield from wrapped(
            "ssl-swin predict", quoted(tuned[0].root), "NEW_IMAGES -o predictions.csv"
        )
    elif pretrained:
        newest = max(pretrained, key=lambda folder: folder.summary.stat().st_mtime)
        yield from wrapped(
            f"ssl-swin finetune --encoder {quoted(newest.root)}",
            "--data.shards LABELLED/train --data.val-shards LABELLED/val",
            f"--run-dir {quoted(newest.finetuning)}",
        )
    for folder in unfinished[:1]:
        yield from wrapped("ssl-swin status", quoted(folder.root))
    shared = os.path.commonpath([folder.root.absolute() for folder in folders])
    yield from wrapped("tensorboard --logdir", quoted(Path(os.path.relpath(shared))))


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
            + (NOT_SHOWN if group.sd is None else f"{group.sd:.2f}"),
            "seeds": " ".join(map(str, group.seeds)),
            "top-1 of each": " ".join(f"{top1:.2f}" for top1 in group.top1),
        }
        for group in groups(summaries)
    ]
    return table("", rows)


def _is_run(path: Path, evaluations: bool) -> bool:
    folder = RunFolder(path)
    if is_evaluation(folder):
        return evaluations and folder.jobs.is_file()
    return any(file.is_file() for file in (folder.summary, folder.lives, folder.jobs))


def _runs_below(place: Path, evaluations: bool) -> list[Path]:
    found = []
    for name, folders, _ in os.walk(place):
        if _is_run(Path(name), evaluations):
            found.append(Path(name))
            folders.clear()  # a run holds no runs
    return sorted(found)
