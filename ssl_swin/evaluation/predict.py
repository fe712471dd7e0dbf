"""`ssl-swin predict`: the classes of new images, by a fine-tuned classifier."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from ssl_swin.data.counting import counting
from ssl_swin.data.shards.given import SINGLE
from ssl_swin.errors import UserError
from ssl_swin.evaluation.classify import (
    Answers,
    Computing,
    classify,
    counted,
    find_device,
    fingerprint,
)
from ssl_swin.evaluation.images import open_images
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.predictions import Origin, Predictions, StandardOutput, check_name
from ssl_swin.evaluation.rows import Row, columns, row_of
from ssl_swin.evaluation.stopping import stops_at_once
from ssl_swin.evaluation.task_rows import columns_of, task_rows
from ssl_swin.pretrained.classifier import ClassifierCard, OpenClassifier, open_classifier
from ssl_swin.typed import typed

USUAL_TOP_K = 5
_MOST_SHOWN = 10  # classes
_LONGEST_S = 10.0  # that a stop waits for rows on their way: who reads them may have stopped
Output = Predictions | StandardOutput


def predict(
    run: Path,
    *images: str,
    computing: Computing,
    output: str = "-",
    top_k: int | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Classify images: the names of the likeliest classes, and their probabilities.

    An image that cannot be decoded gets a row that says why. The same command goes on with a file
    that was not finished.

    Args:
        run: A finished fine-tuning's run folder, or its classifier.safetensors.
        images: Files, folders (at any depth), shards (a folder of tars, a tar, a pattern in
            quotes), or URLs of images or shards.
        computing: How.
        output: A name that ends in .csv, .jsonl or .parquet; - prints CSV.
        top_k: Classes of each image, the likeliest first; left out, 5, or all if there are fewer.
        cache_dir: Where remote shards and indexes go; left out, the user's cache.

    Raises:
        UserError: If there is no classifier, no image or no such device, or the output is of
            another classifier or of other images.
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    path = None if output == "-" else Path(output)
    if path is not None:
        check_name(path)
    say = partial(print, file=sys.stderr if path is None else sys.stdout, flush=True)
    sinks: list[Output] = []  # the one, once it is there
    with stops_at_once(partial(_describe_stop, sinks)):
        opened, device = open_classifier(run), find_device(computing.device)
        found, said = open_images(images, cache_dir)
        k, names = _columns(top_k, opened.card)
        whose, content = fingerprint(opened), found.fingerprint()
        origin = Origin(str(run), whose, content, len(found), k, computing.flip)
        sink = Predictions(path, names, origin) if path else StandardOutput(names)
        sinks.append(sink)
        before = sink.tally.num_images
        goes_on = f", {before:,} of them done before" if before else ""
        say(*said, f"{len(found):,} images{goes_on}, on {device}", sep="\n")
        stream = PixelStream(found, opened.card)
        with closing(sink), counting("classifying", len(found), before) as count:
            for answers in counted(classify(opened, stream, computing, before), count):
                sink.add(rows(answers, stream, opened, k))
            sink.finish()
    say(*describe(sink, run, count.rate if before < len(found) else None), sep="\n")


def _columns(top_k: int | None, card: ClassifierCard) -> tuple[int, tuple[str, ...]]:
    """Return how many classes are named of each image, and the columns of a row."""
    k = _top_k(top_k, card)
    return k, columns(k) if card.task == SINGLE else columns_of(card)


def _top_k(given: int | None, card: ClassifierCard) -> int:
    num_classes = len(card.classes)
    if card.task != SINGLE:
        if given is not None:
            raise UserError(f"top_k={given}: this network is of the task {card.task}; leave it out")
        return num_classes
    if given is not None and not 1 <= given <= num_classes:
        raise UserError(f"top_k={given}: give 1 to {num_classes}, the classes of this classifier")
    return given or min(USUAL_TOP_K, num_classes)


def rows(answers: Answers, stream: PixelStream, opened: OpenClassifier, k: int) -> Iterator[Row]:
    """Yield the row of each image of a batch."""
    if opened.card.task != SINGLE:
        yield from task_rows(answers, stream, opened.card)
        return
    best = answers.probability.topk(k, dim=1)  # (batch, k) of each
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    for place, broken, (kinds, shares) in zip(
        answers.index.tolist(), answers.broken.tolist(), ranked, strict=True
    ):
        name = stream.images.name(place)
        if broken:
            yield row_of(name, [], stream.why_broken(place))
        else:
            names = (opened.card.classes[kind] for kind in kinds)
            yield row_of(name, zip(names, shares, strict=True))


def describe(sink: Output, run: Path, rate: float | None) -> Iterator[str]:
    """Yield the lines that a prediction ends with: what was found, and what to type next."""
    tally = sink.tally
    speed = "nothing was left to do" if rate is None else f"{rate:.0f} images/s"
    yield f"{sink}: {tally.num_images:,} images, {tally.num_broken:,} of them broken; {speed}"
    if any(tally.classes):
        yield from describe_counts(tally.classes.most_common())
    if tally.num_broken:
        first = f"; the first is {tally.first_broken}" if tally.first_broken else ""
        yield f"warning: broken images: {tally.num_broken:,}; see the column error{first}"
    yield (
        "next, with labelled images in SHARDS: how often is it right?\n"
        f"  {typed('evaluate', run, '--data', 'SHARDS')}"
    )


def describe_counts(counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield a line for each class: its name, how many images, their share; the most first."""
    counts = list(counts)
    total = sum(count for _, count in counts)
    shown = counts[:_MOST_SHOWN]
    width = min(40, max((len(name) for name, _ in shown), default=0))
    for name, count in shown:
        cut = name if len(name) <= width else f"{name[: width - 1]}…"
        yield f"  {cut:<{width}}  {count:>9,}  {100 * count / total:5.1f} %"
    if rest := counts[_MOST_SHOWN:]:
        yield f"  {sum(count for _, count in rest):,} of other classes ({len(rest)})"


def _describe_stop(opened: list[Output]) -> str:
    """Say what is saved; nothing more is written once this has begun."""
    if not opened:
        return "nothing is classified yet; the same command starts again"
    sink = opened[0]
    sink.lock.acquire(timeout=_LONGEST_S)  # and keep it: this process leaves
    num = f"{sink.tally.num_images:,}"
    if isinstance(sink, StandardOutput):
        return f"{num} images are printed; with a file, -o, the same command would go on"
    return f"{num} of {sink.origin.num_images:,} images are in {sink}; the same command goes on"
