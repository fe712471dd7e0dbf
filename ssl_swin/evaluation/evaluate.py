"""`ssl-swin evaluate`: how often a fine-tuned classifier is right, and where it is not."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from ssl_swin.data.counting import counting
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import open_shards
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.given import MULTI, NUMBERS, SINGLE
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError, usable
from ssl_swin.evaluation.classify import (
    Answers,
    Computing,
    classify,
    counted,
    find_device,
    fingerprint,
)
from ssl_swin.evaluation.evaluate_task import show_task, write_task
from ssl_swin.evaluation.findings import NUM_RANKED, Findings, find
from ssl_swin.evaluation.images import Samples
from ssl_swin.evaluation.labels import labels_by_name
from ssl_swin.evaluation.measures import most_confused, per_class
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.evaluation.stopping import stops_at_once
from ssl_swin.evaluation.task_findings import TaskFindings, find_for_task, targets_by_name
from ssl_swin.evaluation.written import SUMMARY, Subject, write_evaluation
from ssl_swin.pretrained.classifier import ClassifierCard, open_classifier
from ssl_swin.record.lines import read_json
from ssl_swin.record.report import show
from ssl_swin.record.run_folder import RunFolder, classifier_file
from ssl_swin.typed import typed

_MOST_CLASSES = 30  # in the table that is printed
_MOST_PAIRS = 5
_USUAL = Asked()


def evaluate(
    run: Path,
    *,
    data: str,
    computing: Computing,
    output: Path | None = None,
    asked: Asked = _USUAL,
    cache_dir: Path | None = None,
) -> None:
    """Measure a classifier on labelled shards; write tables and pictures, and print the numbers.

    Args:
        run: A finished fine-tuning's run folder, or its classifier.safetensors.
        data: The shards: a folder, a tar, a pattern in quotes, or a URL.
        computing: How.
        output: Folder for what is written; left out, evaluation/NAME in the run folder.
        asked: Which labels.
        cache_dir: Where remote shards and indexes go; left out, the user's cache.

    Raises:
        UserError: If there is no classifier or no such device, the labels do not fit the
            classifier, or the output folder is of other images.
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    told = "the evaluation is not written yet; the same command starts again"
    with stops_at_once(lambda: told):
        opened, where = open_classifier(run), shown(data)
        card, asked = opened.card, replace(asked, task=opened.card.task)
        shards = open_with_labels(data, asked, cache_dir)
        label = labels_as_known(shards, where, card, asked)
        known, flip = fingerprint(opened), computing.flip
        subject = Subject(str(run), known, where, shards.fingerprint(), flip)
        folder = output or usual_folder(run, data)
        check_folder(folder, subject.fingerprint)
        device = find_device(computing.device)
        print(f"{len(label):,} images, {outputs_told(card)}, on {device}", flush=True)
        stream = PixelStream(Samples(shards), card)
        with counting("classifying", len(label)) as count:
            answers = counted(classify(opened, stream, computing), count)
            findings = _find(answers, label, card)
        if not len(findings.place):
            stream.refuse(f"data={where}: ")
        _write(folder, subject, findings, stream, card)
    _show(findings, card)
    for line in _ending(findings, folder, run, count.rate):
        print(line)


def outputs_told(card: ClassifierCard) -> str:
    """Say how many outputs there are, and of what."""
    num = len(card.classes)
    if card.task == NUMBERS:
        return "one number each" if num == 1 else f"{num} numbers each"
    return f"{num} classes" + (", any of which may be there" if card.task == MULTI else "")


def labels_as_known(shards: ShardSet, where: str, card: ClassifierCard, asked: Asked) -> np.ndarray:
    """Return the labels of all samples as the network knows them; errors as of its task."""
    if card.task == SINGLE:
        return labels_by_name(shards, where, card.classes, asked.field)
    return targets_by_name(shards, where, card)


def _find(
    answers: Iterable[Answers], label: np.ndarray, card: ClassifierCard
) -> Findings | TaskFindings:
    if card.task == SINGLE:
        return find(answers, label, len(card.classes))
    return find_for_task(answers, label, card.task)


def _write(
    folder: Path,
    subject: Subject,
    findings: Findings | TaskFindings,
    stream: PixelStream,
    card: ClassifierCard,
) -> None:
    if isinstance(findings, TaskFindings):
        write_task(folder, subject, findings, stream, card)
    else:
        write_evaluation(folder, subject, findings, stream, card.classes)


def _show(findings: Findings | TaskFindings, card: ClassifierCard) -> None:
    if isinstance(findings, TaskFindings):
        show_task(findings, card)
    else:
        show_findings(findings, card.classes)


def usual_folder(run: Path, data: str) -> Path:
    """Return the folder of an evaluation, named for the last folder of its data that has a name."""
    parts = [part for part in re.split(r"[/\\]", data.partition("?")[0]) if part]
    named = [part for part in parts if not part.endswith(".tar")] or parts
    name = re.sub(r"[^\w.-]+", "-", named[-1]).strip("-.") or "data"
    return RunFolder(classifier_file(run).parent).evaluation(name)


def show_findings(findings: Findings, classes: Sequence[str]) -> None:
    """Print the measures, a table of the classes, the weakest first, and what is confused most."""
    found, measures = per_class(findings.confusion), findings.measures
    top5 = f"top-5 {measures['top5']:.2f} %, " if len(classes) > NUM_RANKED else ""
    order = np.argsort(found["f1"], kind="stable")
    order = order[found["count"][order] > 0]
    shown = order[:_MOST_CLASSES]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class", max_width=36, no_wrap=True)
    for name in ("images", "precision", "recall", "f1"):
        table.add_column(name, justify="right")
    for number in shown.tolist():
        shares = (f"{found[name][number]:.1f}" for name in ("precision", "recall", "f1"))
        table.add_row(Text(classes[number]), f"{found['count'][number]:,}", *shares)
    show(table)
    if len(order) > len(shown):
        print(f"  these are the weakest; per_class.csv has all {len(order)}")
    for right, said, count in most_confused(findings.confusion, _MOST_PAIRS):
        share = 100 * count / found["count"][right]
        print(f"  {share:5.1f} % of {classes[right]} are said to be {classes[said]}: {count:,}")
    print(
        f"top-1 {measures['top1']:.2f} %, {top5}balanced {measures['balanced_accuracy']:.2f} %, "
        f"macro F1 {measures['macro_f1']:.2f} %, loss {measures['loss']:.4f}"
    )


def open_set(
    data: str, cache_dir: Path | None, name: str = "data", say: Callable[[str], None] = print
) -> ShardSet:
    """Open the shards, which errors call `name`, and say what they leave out, a line at a time.

    Raises:
        UserError: If there is no image.
        ShardError, RemoteError or OSError: If the storage fails, or a shard is damaged.
    """
    where = shown(data)
    with usable(f"{name}={where}"):
        shards = open_shards(data, cache_dir=cache_dir)
    for line in describe(shards.left_out, where):
        say(line)
    if not shards.num_samples:
        raise UserError(f"{name}={where} holds no image; give other shards")
    return shards


def open_with_labels(
    data: str, asked: Asked, cache_dir: Path | None, say: Callable[[str], None] = print
) -> ShardSet:
    """Open shards as `open_set` does, with the labels that are asked for; errors as `attach`."""
    where = shown(data)
    found, said = attach({where: open_set(data, cache_dir, say=say)}, asked)
    for line in said:
        say(line)
    return found[where]


def check_folder(folder: Path, fingerprint: str) -> None:
    """Make the folder of an evaluation; refuse one that is of other shards.

    Raises:
        UserError: If it is, or cannot be made.
    """
    with usable(f"output={folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    earlier = read_json(folder / SUMMARY)
    if earlier and earlier.get("fingerprint") != fingerprint:
        raise UserError(
            f"{folder} holds the evaluation of other images ({earlier.get('data')}); give another "
            "folder, -o, or move it away"
        )


def _ending(
    findings: Findings | TaskFindings, folder: Path, run: Path, rate: float
) -> Iterator[str]:
    if num := len(findings.broken):
        yield f"warning: broken images, which do not count: {num:,}; see images.csv"
    yield f"{len(findings.place):,} images, {rate:.0f} images/s"
    pictures = "" if isinstance(findings, TaskFindings) else "confusion.png, mistakes.png and "
    yield f"{pictures}tables are in {folder}"
    command = typed("predict", run, "NEW_IMAGES", "-o", "predictions.csv")
    yield f"next, the classes of new images:\n  {command}"
