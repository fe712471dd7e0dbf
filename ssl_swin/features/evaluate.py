"""`ssl-swin evaluate`: what frozen features of any networks are worth, held against each other."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ssl_swin.data.remote.urls import shown
from ssl_swin.errors import UserError
from ssl_swin.evaluation import evaluate as of_classifier
from ssl_swin.evaluation.classify import Computing, find_device
from ssl_swin.evaluation.stopping import stops_at_once
from ssl_swin.evaluation.written import SUMMARY
from ssl_swin.features.asking import Asking
from ssl_swin.features.extract import STOPPED, extract, network_at
from ssl_swin.features.labelled import LabelledSet, open_labelled
from ssl_swin.features.measures import (
    MEASURES,
    LabelledFeatures,
    chosen_measures,
    draws_of_rows,
)
from ssl_swin.features.ranks import Ranks
from ssl_swin.features.results import Evaluation, Result, fitting, sentences, tables
from ssl_swin.features.store import Features
from ssl_swin.features.subjects import RANDOM, TIMM, WHAT, Subject, find_subjects
from ssl_swin.features.written import (
    check_folder,
    check_question,
    write_confusion,
    write_neighbours,
    write_tables,
)
from ssl_swin.phases import Phase, say_nothing, tell
from ssl_swin.pretrained.classifier import read_classifier_card
from ssl_swin.pretrained.open import find_sizes
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.settings import has_classes
from ssl_swin.record.tables import show
from ssl_swin.typed import typed

_ROWS = 4096  # images whose features are looked at at once


def evaluate(
    *what: str,
    data: str,
    computing: Computing,
    asking: Asking,
    test: str | None = None,
    output: Path | None = None,
) -> None:
    """Measure frozen features: what networks know without fine-tuning. Or measure a classifier.

    With --test the features of each network are held against each other: classes by the nearest
    images (kNN), a linear probe, both with few labels. Without it there is one network, a
    fine-tuned classifier, and --data is what it is measured on.

    Args:
        what: A run folder, a file of an encoder, timm:NAME, timm:NAME:FILE, or random, which has
            the architecture of another one; random:WHAT for that of WHAT.
        data: Labelled shards to learn from: a folder, a tar, a pattern in quotes, or a URL. For a
            classifier those that it is measured on.
        computing: How.
        asking: What.
        test: Labelled shards to be asked about, with the same classes.
        output: Folder for what is written; left out, evaluation/frozen-NAME in the first run
            folder that is named, or evaluation-NAME here; of a classifier, evaluation/NAME.

    Raises:
        UserError: If something named is not there or does not fit, or features are not finite.
        MachineError: If the memory of a GPU is too small, or weights cannot be fetched.
        ShardError, RemoteError or OSError: If the storage fails, or a shard was changed.
    """
    if test is None:
        run = only_classifier(what, data)
        if asking.devices > 1:
            raise UserError("a classifier is measured by one process; leave out --devices")
        if (num := Ranks.of().world_size) > 1:
            raise UserError(f"a classifier is measured by one process, not by {num}; start one")
        asked: dict[str, Any] = {"asked": asking.asked_labels, "cache_dir": asking.cache_dir}
        of_classifier.evaluate(run, data=data, computing=computing, output=output, **asked)
        return
    with stops_at_once(lambda: STOPPED):
        folder = output or usual_folder(what, test)
        found = _hold_against(what, (data, test), computing, asking, folder)
    if found is not None:
        show_evaluation(found)
        for line in _ending(found, folder, (data, test), what):
            print(line)


def _hold_against(
    what: Sequence[str],
    data: tuple[str, str],
    computing: Computing,
    asking: Asking,
    folder: Path,
) -> Evaluation | None:
    """Measure all networks, and write what is found; None in all processes but the first."""
    is_first = not Ranks.of().rank
    chosen_measures(asking.measures)  # refuses, as all that follows, before it takes hours
    device = find_device(computing.device)
    subjects = find_subjects(what, seed=asking.seed, img_size=asking.img_size)
    for subject in subjects:
        network_at(subject, asking.layer)
    say = tell if is_first else say_nothing
    sets = open_labelled(*data, asking.asked_labels, asking.cache_dir, say)
    found = without_results(sets, computing, asking)
    check_folder(folder, found.test.shards.fingerprint())
    check_question(
        folder, found, {name for one in subjects for name in (one.fingerprint, one.what)}
    )
    # Of all, before one is measured: that is for the first process alone, and others would wait.
    extracted: list[tuple[Subject, Features, Features]] = []
    for subject in subjects:
        say(f"{subject.name}: {subject.told}")
        train, test = (
            extract(subject, one.shards, computing, asking.layer, asking.cache_dir)
            for one in sets[:2]
        )
        extracted.append((subject, train, test))
    if not is_first:
        return None
    for subject, train, test in extracted:
        features = _labelled(subject, found, train, test, device)
        found.results.append(_measured(subject, features, found))
        write_confusion(folder, found, found.results[-1])
        write_neighbours(folder, found, subject, features)
    write_tables(folder, found)
    return found


def without_results(
    sets: tuple[LabelledSet, LabelledSet, tuple[str, ...]], computing: Computing, asking: Asking
) -> Evaluation:
    """Return the evaluation that is asked for, of sets as `open_labelled` opens them."""
    return Evaluation(
        *sets,
        asking.layer,
        asking.seed,
        measures=chosen_measures(asking.measures),
        flip=computing.flip,
        label_field=asking.label_field,
    )


def usual_folder(what: Sequence[str], test: str, coming: Collection[str] = ()) -> Path:
    """Return the folder of an evaluation: in the first run folder that is named, or here.

    `coming` are names of run folders that are not there yet.
    """
    for one in what:
        run = RunFolder(Path(one))
        if one in coming or run.config.is_file():
            folder = of_classifier.usual_folder(run.classifier, test)
            return folder.with_name(f"frozen-{folder.name}")
    return Path(f"evaluation-{of_classifier.usual_folder(Path(), test).name}")


def show_evaluation(found: Evaluation) -> None:
    """Print the tables; in a narrow terminal, one below another for each network."""
    for one in fitting(tables(found), Console().width):
        show(one)
        print()


def only_classifier(what: Sequence[str], data: str) -> Path:
    """Return the classifier that is named, or say how networks without classes are measured.

    Raises:
        UserError: If it is none.
    """
    if not what:
        raise UserError(f"nothing is named that could be evaluated; give {WHAT}")
    command = typed("evaluate", *what, "--data", shown(data), "--test", "TEST")
    if len(what) > 1:
        raise UserError(
            f"{len(what)} networks are compared by what their frozen features tell of a second "
            f"labelled set, so give one: {command}"
        )
    run = Path(what[0])
    if _is_encoder(run) if run.exists() else what[0].startswith((RANDOM, TIMM)):
        raise UserError(
            f"{what[0]} is an encoder, which knows no classes; what its frozen features tell of a "
            f"second labelled set can be measured, so give one: {command}"
        )
    return run


def _is_encoder(place: Path) -> bool:
    """Say whether a file or a run folder has an encoder, and no classes."""
    if place.is_file():
        return read_classifier_card(place) is None and bool(find_sizes(place))
    folder = RunFolder(place)
    has_weights = folder.encoder.is_file() or folder.last.is_file()
    return has_weights and not folder.classifier.is_file() and not has_classes(folder)


def _labelled(
    subject: Subject, found: Evaluation, train: Features, test: Features, device: torch.device
) -> LabelledFeatures:
    """Take the images that have a label and can be decoded."""
    rows, parts = [], []
    for features, labelled in ((train, found.train), (test, found.test)):
        rows.append(np.flatnonzero(features.good & (labelled.label >= 0)))
        parts.append(_rows_of(features.values, rows[-1]))
        _check_finite(parts[-1], subject, labelled.where)
    draws = draws_of_rows(found.train.label, rows[0], found.seed)
    label, of_test = found.train.label[rows[0]], found.test.label[rows[1]]
    learned, asked = (parts[0], rows[0], label), (parts[1], rows[1], of_test)
    if len(np.unique(label)) < 2 or not len(of_test):
        raise UserError(
            f"{found.train.where} or {found.test.where} has too few images that can be decoded; "
            "give other sets"
        )
    return LabelledFeatures(*learned, *asked, len(found.classes), draws, found.seed, device)


def _rows_of(values: np.ndarray, rows: np.ndarray) -> Tensor:
    """Return these rows; all of them stay on the disk until they are read."""
    if len(rows) < len(values):
        return torch.from_numpy(values[rows])
    with warnings.catch_warnings():  # nobody writes to them
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values)


def _check_finite(features: Tensor, subject: Subject, where: str) -> None:
    num = sum(int((~part.isfinite().all(dim=1)).sum()) for part in features.split(_ROWS))
    if num:
        raise UserError(
            f"{subject.what}: the features of {num:,} of {len(features):,} images of {where} are "
            "not finite, so its weights are broken; leave it out"
        )


def _measured(subject: Subject, features: LabelledFeatures, found: Evaluation) -> Result:
    """Measure one network by all that is chosen."""
    findings = []
    for name in found.measures:
        with Phase(f"{subject.name}: measuring {name}"):
            findings.append(MEASURES[name](features))
    numbers = {key: value for one in findings for key, value in one.numbers.items()}
    few_labels = [line for one in findings for line in one.few_labels]
    said = {}
    for key, classes in ((key, value) for one in findings for key, value in one.said.items()):
        said[key] = np.full(len(found.test.label), -1)
        said[key][features.test_place] = classes
    sizes = features.train.shape[1], len(features.train), len(features.test)
    known = subject.name, subject.what, subject.fingerprint
    return Result(*known, *sizes, numbers, few_labels, said)


def _ending(
    found: Evaluation, folder: Path, sets: tuple[str, str], what: Sequence[str]
) -> Iterator[str]:
    yield from sentences(found)
    yield f"tables, {SUMMARY} and pictures (confusion-*.png, neighbours-*.png) are in {folder}"
    data, test = map(shown, sets)
    if len(what) == 1 and not what[0].startswith(RANDOM):
        yield "next, what did pretraining bring? The same beside random weights:"
        yield f"  {typed('evaluate', *what, RANDOM, '--data', data, '--test', test)}"
    elif not what[0].startswith((RANDOM, TIMM)):
        yield "next, with all weights trained, which is worth more:"
        yield f"  {typed('finetune', '--encoder', what[0], '--data.shards', data)}"
