"""The files of an evaluation: tables, pictures, and its numbers in `summary.json`, written last."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_swin.data.pixels.picture import picture
from ssl_swin.evaluation.confusion import draw_confusion
from ssl_swin.evaluation.findings import Findings
from ssl_swin.evaluation.measures import per_class
from ssl_swin.evaluation.mistakes import NUM_SHOWN, Mistake, draw_mistakes
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.rows import Csv, Row, columns, csv_line, row_of
from ssl_swin.files import replacing
from ssl_swin.record.lines import write_text

SUMMARY = "summary.json"
IMAGES = "images.csv"  # not predictions.csv, which `predict` may have written there


@dataclass(frozen=True)
class Subject:
    """What was evaluated, on what."""

    run: str  # as it was given; it may move
    classifier: str  # its `classify.fingerprint`
    data: str  # as it was given, less what is secret in a URL
    fingerprint: str  # of the shards
    flip: bool  # whether the mirror image counted, too


def write_evaluation(
    folder: Path, subject: Subject, findings: Findings, stream: PixelStream, classes: Sequence[str]
) -> None:
    """Write all files; the images that are shown are read again."""
    title = f"{Path(subject.run).name} on {Path(subject.data).name}"
    measures, num = findings.measures, len(findings.label)
    write_csv(folder / "per_class.csv", _class_rows(findings, classes))
    matrix = zip(classes, findings.confusion.tolist(), strict=True)
    rows = [["is / is said to be", *classes], *([name, *counts] for name, counts in matrix)]
    write_csv(folder / "confusion.csv", rows)
    names = columns(findings.ranked.shape[1], "is")
    predictions = _predictions(findings, stream, classes)
    text = Csv()
    lines = [text.head(names), *(text.line(row, names) for row in predictions)]
    write_text(folder / IMAGES, "".join(lines))
    numbers = f"top-1 {measures['top1']:.1f} %, balanced {measures['balanced_accuracy']:.1f} %"
    picture = draw_confusion(findings.confusion, classes, f"{title}: {num:,} images, {numbers}")
    write_picture(folder / "confusion.png", picture)
    worst = findings.mistakes(NUM_SHOWN).tolist()
    shown = [_mistake(findings, at, stream, classes) for at in worst]
    num_wrong = round(num - num * measures["top1"] / 100)
    heading = f"{title}: the {len(shown)} most confident of {num_wrong:,} mistakes"
    write_picture(folder / "mistakes.png", draw_mistakes(shown, heading))
    found: dict[str, Any] = {"images": num, "broken": len(findings.broken)} | measures
    write_text(folder / SUMMARY, json.dumps(asdict(subject) | found, indent=2) + "\n")


def _class_rows(findings: Findings, classes: Sequence[str]) -> Iterator[list[Any]]:
    found = per_class(findings.confusion)
    yield ["class", *found]
    for number, name in enumerate(classes):
        yield [name, *(values[number].item() for values in found.values())]


def _predictions(findings: Findings, stream: PixelStream, classes: Sequence[str]) -> Iterator[Row]:
    """Yield the row of each image, in the order of the set."""
    broken = [(place, None) for place in findings.broken]
    good = [(place, at) for at, place in enumerate(findings.place.tolist())]
    for place, at in sorted([*good, *broken]):
        name = stream.images.name(place)
        if at is None:
            yield row_of(name, [], stream.why_broken(place))
            continue
        kinds, shares = findings.ranked[at].tolist(), findings.probability[at].tolist()
        ranked = zip((classes[kind] for kind in kinds), shares, strict=True)
        yield row_of(name, ranked, **{"is": classes[findings.label[at]]})


def _mistake(findings: Findings, at: int, stream: PixelStream, classes: Sequence[str]) -> Mistake:
    place, reading = int(findings.place[at]), stream.renderer.reading
    return Mistake(
        picture(stream.images.read(place), stream.in_chans, reading),
        stream.images.name(place),
        classes[findings.label[at]],
        classes[findings.ranked[at, 0]],
        float(findings.probability[at, 0]),
    )


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, its head among the rows."""
    write_text(path, "".join(map(csv_line, rows)))


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    with replacing(path) as file:
        file.write(content.getvalue())
