"""Rows of predictions where an image has any number of classes, or numbers."""

from collections.abc import Iterator

from ssl_swin.data.labelling.values import BETWEEN
from ssl_swin.data.shards.given import MULTI
from ssl_swin.evaluation.classify import Answers
from ssl_swin.evaluation.other_tasks import THRESHOLD
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.rows import Row, one_line
from ssl_swin.pretrained.classifier import ClassifierCard


def columns_of(card: ClassifierCard, *facts: str) -> tuple[str, ...]:
    """Name the columns: the image, what is known of it, what is said of it, what is broken."""
    if card.task == MULTI:
        each = (f"probability of {one_line(name)}" for name in card.classes)
        return ("image", *facts, "labels", *each, "error")
    return ("image", *facts, *card.classes, "error")


def task_rows(answers: Answers, stream: PixelStream, card: ClassifierCard) -> Iterator[Row]:
    """Yield the row of each image of a batch."""
    rows = zip(answers.index.tolist(), answers.broken.tolist(), answers.probability, strict=True)
    for place, broken, found in rows:
        name = stream.images.name(place)
        if broken:
            yield {"image": one_line(name), "error": one_line(stream.why_broken(place))}
        else:
            yield {"image": one_line(name)} | said_of(found.tolist(), card)


def said_of(found: list[float], card: ClassifierCard) -> Row:
    """Return what is said of one image, of its probabilities or numbers."""
    shown = [float(f"{value:.6g}") for value in found]
    if card.task != MULTI:
        return dict(zip(card.classes, shown, strict=True))
    there = [name for name, share in zip(card.classes, found, strict=True) if share >= THRESHOLD]
    each = {
        f"probability of {one_line(name)}": share
        for name, share in zip(card.classes, shown, strict=True)
    }
    return {"labels": one_line(BETWEEN.join(there)), **each}
