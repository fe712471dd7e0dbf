"""The two labelled sets of an evaluation: images to learn from, images to be asked about."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ssl_swin.data.batches.labels import all_labels
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.classes import CLASSES_NAME, names_of, numbers_among
from ssl_swin.data.shards.reader import content_of
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.evaluation.evaluate import open_set


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Shards, and the class of each sample."""

    shards: ShardSet
    where: str
    """How it is called."""
    label: np.ndarray
    """int64 (num_samples,): a place in the classes of both sets; -1 of a sample without one."""

    @cached_property
    def content(self) -> str:
        """What tells it from other sets, as of `content_of`."""
        return content_of(self.shards)

    @property
    def num_labels(self) -> int:
        """Samples whose class is known."""
        return int((self.label >= 0).sum())


def open_labelled(
    train: str, test: str, asked: Asked, cache_dir: Path | None, say: Callable[[str], None]
) -> tuple[LabelledSet, LabelledSet, tuple[str, ...]]:
    """Open the training and the test set, whose classes are the same by name; return them, too.

    The test set may lack some of the classes, or have them in another order. Samples without a
    label are left out; `say` is told what is odd, a line at a time.

    Raises:
        UserError: If a set has no label, the training set one class only, or the test set a class
            that the training set does not know.
        ShardError, RemoteError or OSError: If the storage fails, or a shard is damaged.
    """
    opened = {
        f"{kind}={shown(data)}": open_set(data, cache_dir, kind, say)
        for data, kind in ((train, "data"), (test, "test"))
    }
    sets, names = [], []
    given, said = attach(opened, asked)
    for line in said:
        say(line)
    for where, shards in given.items():
        label = all_labels(shards, asked.field)
        sets.append(LabelledSet(shards, where, _checked(label, where, say)))
        names.append(names_of(shards))
    first, second = sets
    classes = names[0] or tuple(map(str, range(first.label.max() + 1)))
    _check_named(first.label, classes, first.where)
    if len(np.unique(first.label[first.label >= 0])) < 2:
        only = classes[first.label.max()]
        raise UserError(
            f"{first.where} has images of one class only ({only!r}), so there is nothing to tell "
            "apart; give a set of two classes or more"
        )
    theirs = names[1] or tuple(map(str, range(second.label.max() + 1)))
    _check_named(second.label, theirs, second.where)
    if (names[0] is None) != (names[1] is None):
        bare = first.where if names[0] is None else second.where
        raise UserError(
            f"{bare} has no {CLASSES_NAME} beside its tars, so its labels are numbers, and the "
            "other set's are names; write it, as a JSON list of names in the order of the numbers"
        )
    label = _renumbered(second, theirs, classes, first.where)
    if first.content == second.content:
        say(
            "warning: data and test are the same images, of which each is its own nearest: the "
            "numbers say nothing about new images"
        )
    return first, LabelledSet(second.shards, second.where, label), classes


def _checked(label: np.ndarray, where: str, say: Callable[[str], None]) -> np.ndarray:
    """Return labels with -1 where there is none; refuse a set without any."""
    missing = int((label < 0).sum())
    if missing == len(label):
        raise UserError(
            f"{where} has no labels, so nothing can be measured: a class is a whole number in "
            ".cls, or in label_field of .json; give labelled shards"
        )
    if missing:
        say(f"{where}: {missing:,} of {len(label):,} images have no label and do not count")
    return np.where(label < 0, -1, label)


def _check_named(label: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    if label.max() >= len(classes):
        raise UserError(
            f"{where} has a label {label.max()}, and its {CLASSES_NAME} names {len(classes)}, from "
            "0 on; mend one of them"
        )


def _renumbered(
    tested: LabelledSet, names: tuple[str, ...], classes: tuple[str, ...], where: str
) -> np.ndarray:
    """Return labels as the training set numbers them."""
    used = np.unique(tested.label[tested.label >= 0]).tolist()
    remedy = "; pack one of them again with --classes-from the other"
    numbers = numbers_among(names, used, classes, tested.where, where, remedy)
    return np.array([*numbers, -1])[tested.label]  # -1 is the last
