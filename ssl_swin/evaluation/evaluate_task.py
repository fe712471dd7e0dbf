"""`ssl-swin evaluate` of a network whose images have several classes, or numbers."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ssl_swin.data.labelling.values import BETWEEN
from ssl_swin.data.shards.given import MULTI
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.rows import Csv, Row, one_line
from ssl_swin.evaluation.task_findings import TaskFindings
from ssl_swin.evaluation.task_rows import columns_of, said_of
from ssl_swin.evaluation.written import IMAGES, SUMMARY, Subject, write_csv
from ssl_swin.pretrained.classifier import ClassifierCard
from ssl_swin.record.lines import write_text
from ssl_swin.record.measures import MEASURES, Measure
from ssl_swin.record.report import show

_MOST_ROWS = 30  # in the table that is printed
_TOLD = MEASURES | {
    "exact": Measure("all classes right", ".2f", " %"),
    "rmse": Measure("RMSE", ".4g"),
}


def write_task(
    folder: Path, subject: Subject, found: TaskFindings, stream: PixelStream, card: ClassifierCard
) -> None:
    """Write the tables of an evaluation, and its numbers, `summary.json`, last."""
    numbers, kind = found.per_output, kind_of(found)
    rows = [
        [name, *(_known(values[at]) for values in numbers.values())]
        for at, name in enumerate(card.classes)
    ]
    write_csv(folder / f"per_{kind}.csv", [[kind, *numbers], *rows])
    facts = ["is"] if found.task == MULTI else [f"is {name}" for name in card.classes]
    names, text = columns_of(card, *facts), Csv()
    lines = (text.line(row, names) for row in _rows(found, stream, card))
    write_text(folder / IMAGES, text.head(names) + "".join(lines))
    about: dict[str, Any] = {"images": len(found.place), "broken": len(found.broken)}
    about |= {"task": found.task} | {k: _known(v) for k, v in found.measures.items()}
    write_text(folder / SUMMARY, json.dumps(asdict(subject) | about, indent=2) + "\n")


def show_task(found: TaskFindings, card: ClassifierCard) -> None:
    """Print a table of the classes or numbers, the first ones, and the measures."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(kind_of(found), max_width=36, no_wrap=True)
    for name in found.per_output:
        table.add_column(name.replace("average_precision", "AP"), justify="right")
    for at, name in list(enumerate(card.classes))[:_MOST_ROWS]:
        values = found.per_output.items()
        table.add_row(Text(name), *(_cell(kind, one[at]) for kind, one in values))
    show(table)
    if len(card.classes) > _MOST_ROWS:
        print(f"  these are the first; per_{kind_of(found)}.csv has all {len(card.classes)}")
    told = ((_TOLD[name], value) for name, value in found.measures.items())
    print(", ".join(f"{one.word} {one.told(value)}" for one, value in told))


def kind_of(found: TaskFindings) -> str:
    """Return what an output is: a class, or a number."""
    return "class" if found.task == MULTI else "number"


def _cell(kind: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if kind == "count" else f"{value:.4g}"


def _known(value: float) -> float | None:
    """Return a number as JSON and CSV have it; None where there is none."""
    return float(value) if math.isfinite(value) else None


def _rows(found: TaskFindings, stream: PixelStream, card: ClassifierCard) -> Iterator[Row]:
    """Yield the row of each image, in the order of the set."""
    good = [(place, at) for at, place in enumerate(found.place.tolist())]
    for place, at in sorted([*good, *((place, -1) for place in found.broken)]):
        image = {"image": one_line(stream.images.name(place))}
        if at < 0:
            yield image | {"error": one_line(stream.why_broken(place))}
            continue
        target = found.target[at].tolist()
        pairs = zip(card.classes, target, strict=True)
        if found.task == MULTI:
            there = BETWEEN.join(name for name, value in pairs if value)
            yield image | {"is": one_line(there)} | said_of(found.said[at].tolist(), card)
        else:
            known = {f"is {name}": value for name, value in pairs}
            yield image | known | said_of(found.said[at].tolist(), card)
