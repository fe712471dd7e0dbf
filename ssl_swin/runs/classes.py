"""The classes of a fine-tuning: their number, their names, and whether its sets agree on them.

Imports no torch: `submit` asks, too.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.batches.labels import Labels, usable_labels
from ssl_swin.data.batches.targets import Targets
from ssl_swin.data.shards.classes import Names, listed, renumber
from ssl_swin.data.shards.given import NUMBERS, SINGLE
from ssl_swin.errors import UserError, nearest
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.sets import RunSets

_MOST_LISTED = 5


def with_their_number(config: FinetuneConfig, sets: RunSets) -> tuple[FinetuneConfig, list[str]]:
    """Count the classes, if the user gave no number; return the config and what is to be said.

    Raises:
        UserError: If there are no labels, or only one class.
    """
    if config.num_classes is not None:
        return config, []
    given = sets.train[0].given
    if config.task != SINGLE and (given is None or not given.num_known):
        Targets(config.task, 1).check(sets.train[0], "training")  # says what is wrong
    if config.task == NUMBERS:
        assert given is not None
        assert given.scale is not None
        return replace(config, num_classes=len(given.scale[0])), []
    if sets.named:
        where, names = next(iter(sets.named.items()))
        source = "classes.json" if given is None else given.file or "the labels"
        number, why = len(names), f"as many as {source} of {where} names"
        said = [f"num_classes={number}, {why}: {_listed(names)}"]
    else:
        number, said = _by_labels(config, sets)
        why = "by the labels of the training shards"
    if number < 2:
        raise UserError(
            f"there is {'only one' if number else 'no'} class, {why}: a classifier needs two or "
            "more; shards create makes a class of each folder"
        )
    return replace(config, num_classes=number), said


def _by_labels(config: FinetuneConfig, sets: RunSets) -> tuple[int, list[str]]:
    field, where, found = config.data.label_field, " and ".join(config.data.patterns), []
    for one in sets.train:
        label = usable_labels(one, field)
        if label is None:
            raise UserError(
                f"{where} have no classes.json, and reading all labels takes too many requests: "
                "give num_classes, or run ssl-swin shards index where the shards lie"
            )
        if not len(label):
            Labels(2, field).all(one, "training")  # says what is wrong
        found.append(label)
    classes = np.unique(np.concatenate(found))
    number = int(classes[-1]) + 1
    said = [f"num_classes={number}, since the labels of {where} run to {number - 1}"]
    empty = sorted({*range(number)} - {*classes.tolist()})
    if empty:
        first = ", ".join(map(str, empty[:_MOST_LISTED])) + (", ..." * (len(empty) > _MOST_LISTED))
        hint = "; are they numbered from 1? number them from 0" if empty == [0] else ""
        said.append(f"warning: no training image is of class {first}{hint}")
    return number, said


def agree(
    config: RunConfig, sets: RunSets, state: Mapping[str, Any] | None, shards: dict[str, Any]
) -> tuple[Names, RunSets, list[str]]:
    """Return the names of a run's classes, its sets with their numbers made the run's, and lines.

    The run goes on from the checkpoint `state`, if it is there; `shards` describes the training
    shards. A class has its number as a name where nobody gave it one; pretraining has no classes.

    Raises:
        UserError: If the run knows other classes, or the same shards number theirs otherwise now.
    """
    if not isinstance(config, FinetuneConfig):
        return (), sets, []
    numbers, found = _numbered(config), sets.classes or ()
    names = (*found[: len(numbers)], *numbers[len(found) :])
    known = tuple((state or {}).get("classes", ()))  # of version 0.1 they are not known
    if state is None or known in ((), names, numbers):
        return names, sets, []
    before = state["config"].get("data.shards") or config.run_dir
    if not found:
        where = config.data.patterns[0]
        line = f"no classes.json beside {where}: its labels are taken to be numbered as in {before}"
        return known, sets, [line]
    where = next(iter(sets.named))
    order = renumber(names, known, where, before)
    if order is not None and state["shards"] == shards:
        raise UserError(
            f"classes.json of {where} has the classes in another order than when this run began, "
            f"beside the same shards; put back that of {RunFolder(Path(config.run_dir)).classes}"
        )
    line = f"classes are in another order in {where} than in this run: they are mapped by name"
    return known, sets.renumbered(order), [] if order is None else [line]


def given_weights(config: RunConfig, names: Names) -> tuple[float, ...]:
    """Return what each class weighs, in the order of its name, if the user says; else nothing.

    Raises:
        UserError: If a number is said of what is no class, or not of as many as there are.
    """
    given = config.finetune.class_weights if isinstance(config, FinetuneConfig) else "none"
    if isinstance(given, str):
        return ()
    if isinstance(given, dict):
        for name in given:
            if name not in names:
                raise UserError(
                    f"finetune.class_weights names {name!r}, which is no class; the {len(names)} "
                    f"classes are {listed(names)}{nearest(name, names)}"
                )
        return tuple(float(given.get(name, 1.0)) for name in names)
    if len(given) != len(names):
        raise UserError(
            f"finetune.class_weights has {len(given)} numbers, and there are {len(names)} classes, "
            f"{listed(names)}: give one for each, in this order, or name those that are not 1"
        )
    return tuple(map(float, given))


def _numbered(config: FinetuneConfig) -> Names:
    """Return the names of outputs that nobody gave names."""
    num = config.counted_classes
    if config.task != NUMBERS:
        return tuple(map(str, range(num)))
    return ("value",) if num == 1 else tuple(f"value_{number}" for number in range(1, num + 1))


def _listed(names: Names) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
