"""The files of an evaluation of frozen features: tables, pictures, and `summary.json` at last."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.data.pixels.picture import picture
from ssl_swin.errors import UserError, usable
from ssl_swin.evaluation.confusion import draw_confusion
from ssl_swin.evaluation.drawing import thumbnail
from ssl_swin.evaluation.images import Samples
from ssl_swin.evaluation.measures import confusion_matrix, per_class
from ssl_swin.evaluation.pixels import reading_by
from ssl_swin.evaluation.written import SUMMARY, write_csv, write_picture
from ssl_swin.features.measures import LabelledFeatures
from ssl_swin.features.panel import (
    NUM_SHOWN,
    THUMBNAIL,
    Neighbour,
    Query,
    choose_queries,
    draw_neighbours,
)
from ssl_swin.features.results import TOP1, Evaluation, Result, tables
from ssl_swin.features.subjects import Subject
from ssl_swin.record.lines import read_json, write_text
from ssl_swin.record.tables import as_markdown


def check_folder(folder: Path, fingerprint: str) -> None:
    """Make the folder of an evaluation; refuse one that is of other test images.

    Raises:
        UserError: If it is, or cannot be made.
    """
    with usable(f"output={folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    earlier = read_json(folder / SUMMARY)
    tested = earlier.get("test")
    if earlier and (not isinstance(tested, dict) or tested.get("fingerprint") != fingerprint):
        raise UserError(
            f"{folder} holds an evaluation of other images, or of a classifier; give another "
            "folder, -o, or move it away"
        )


def check_question(folder: Path, found: Evaluation, known: Collection[str]) -> None:
    """Refuse a folder with numbers that this evaluation will not have again.

    Its networks are known by the words that name them, or by their fingerprints.

    More networks or measures, all else the same, may be written over it, and so may newer weights
    of a network that is named as before: a run that went on.

    Raises:
        UserError: If it has such numbers.
    """
    earlier, now = read_json(folder / SUMMARY), found.how()
    others = [
        f"{name}={earlier[name]}" for name in now if earlier.get(name, now[name]) != now[name]
    ]
    for name, kind, here in (("train", "training", found.train), ("test", "test", found.test)):
        there = earlier.get(name)
        if isinstance(there, dict) and there.get("content") != here.content:
            others.append(f"other {kind} images ({there.get('data')})")
    lost = [
        str(one.get("name"))
        for one in earlier.get("subjects", [])
        if one.get("fingerprint") not in known and one.get("what") not in known
    ]
    if lost:
        others.append(f"networks that are not named now ({', '.join(lost)})")
    if less := [str(one) for one in earlier.get("measures", []) if one not in found.measures]:
        others.append(f"more measures ({', '.join(less)})")
    if others:
        raise UserError(
            f"{folder} holds an evaluation with {', '.join(others)}; give another folder, -o, or "
            "remove it"
        )


def write_tables(folder: Path, found: Evaluation) -> None:
    """Write all but the pictures."""
    write_text(folder / "table.md", as_markdown(tables(found)))
    write_csv(folder / "measures.csv", _measure_rows(found))
    write_csv(folder / "per_class.csv", _class_rows(found))
    write_text(folder / SUMMARY, json.dumps(found.summary(), indent=2) + "\n")


def _measure_rows(found: Evaluation) -> Iterator[list[Any]]:
    """Yield a row for each network, with the same columns for all."""
    rows = []
    for one in found.results:
        cells: dict[str, Any] = {"name": one.name, "what": one.what} | one.numbers
        for few in one.few_labels:
            for kind, prefix in (("probe", ""), ("knn20", "knn_")):
                cells[f"{kind}, {few['name']}"] = few[f"{prefix}mean"]
                cells[f"{kind}, {few['name']}, sd"] = few[f"{prefix}sd"]
        rows.append(cells)
    names = [*dict.fromkeys(name for cells in rows for name in cells)]
    yield names
    yield from ([cells.get(name) for name in names] for cells in rows)


def _class_rows(found: Evaluation) -> Iterator[list[Any]]:
    yield ["name", "measure", "class", "count", "precision", "recall", "f1"]
    for one in found.results:
        if one.best_said is None:
            continue
        each = per_class(_confusion(found, one))
        for number, name in enumerate(found.classes):
            yield [one.name, one.best_said, name, *(each[key][number].item() for key in each)]


def _confusion(found: Evaluation, one: Result) -> np.ndarray:
    said = one.said[one.best_said or ""]
    there = said >= 0
    return confusion_matrix(found.test.label[there], said[there], len(found.classes))


def write_confusion(folder: Path, found: Evaluation, one: Result) -> None:
    """Draw what one network takes for what, if a measure says classes at all."""
    if (best := one.best_said) is None:
        return
    said, confusion = TOP1.get(best, best), _confusion(found, one)
    title = (
        f"{one.name}, frozen, {said}: {confusion.sum():,} images, top-1 {one.numbers[best]:.1f} %"
    )
    picture = draw_confusion(confusion, found.classes, title)
    write_picture(folder / f"confusion-{one.name}.png", picture)


def write_neighbours(
    folder: Path, found: Evaluation, subject: Subject, features: LabelledFeatures
) -> None:
    """Draw some test images of one network, and the training images nearest to each."""
    said = features.knn_said(20)
    rows = choose_queries(said == features.test_label, found.seed)
    similarity, index = (one[rows, :NUM_SHOWN].tolist() for one in features.neighbours)
    learned, asked = Samples(found.train.shards), Samples(found.test.shards)
    readings = {images: reading_by(subject, images) for images in (learned, asked)}

    def image(images: Samples, place: int) -> Any:
        whole = picture(images.read(place), len(subject.mean), readings[images])
        return thumbnail(whole, THUMBNAIL)  # 90 photographs are much memory

    queries = []
    for row, similarities, neighbours in zip(rows, similarity, index, strict=True):
        nearest = [
            Neighbour(
                image(learned, int(features.train_place[one])),
                found.classes[features.train_label[one]],
                alike,
            )
            for alike, one in zip(similarities, neighbours, strict=True)
        ]
        kind, told = (found.classes[one[row]] for one in (features.test_label, said))
        queries.append(Query(image(asked, int(features.test_place[row])), kind, told, nearest))
    title = f"{subject.name}: nearest neighbours by frozen features (layer: {found.layer})"
    write_picture(folder / f"neighbours-{subject.name}.png", draw_neighbours(queries, title))
