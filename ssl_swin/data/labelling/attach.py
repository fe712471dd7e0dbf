"""Gives sets their labels, where these are no numbers of classes in the tars."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssl_swin.data.labelling.file import LabelFile, first_key
from ssl_swin.data.labelling.members import have_names, labels_of_tars
from ssl_swin.data.shards.classes import Names, names_of
from ssl_swin.data.shards.given import SINGLE
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError


@dataclass(frozen=True)
class Asked:
    """Which labels are asked for."""

    task: str = SINGLE
    """What a label is: `SINGLE`, `MULTI` or `NUMBERS`."""
    field: str = "label"
    """Of a `.json` member that holds it."""
    file: str | None = None
    """CSV or Parquet that has them by key, instead of the tars."""
    name: str = "labels"
    """What errors call the file."""


Labelled = tuple[dict[str, ShardSet], list[str]]


def attach(sets: Mapping[str, ShardSet], asked: Asked) -> Labelled:
    """Return sets, by where they are, with their labels given, and what is to be said of them.

    Nothing is given to a set whose tars say the numbers of its classes, so they stay where they
    are. A set of which the file has no key keeps the labels of its tars.

    Raises:
        UserError: If the file is damaged, a key is in it twice, or it is of none of the sets.
        ShardError: If a label is none of the task, or no class that `classes.json` names.
        RemoteError or OSError: If the storage fails.
    """
    found, said = dict(sets), list[str]()
    known = next((names for names in map(names_of, sets.values()) if names is not None), None)
    if asked.file is not None:
        found, said, known = _from_file(sets, asked, asked.file, known)
    rest = {where: one for where, one in found.items() if one.given is None}
    if asked.task == SINGLE:
        rest = {where: one for where, one in rest.items() if have_names(one, asked.field)}
    own = {where: names_of(one) for where, one in rest.items()}
    # Sets that have names of their own are held against the others by whoever opens them.
    for names in dict.fromkeys(own.values()):
        alike = {where: one for where, one in rest.items() if own[where] == names}
        labels, more = labels_of_tars(alike, asked.field, asked.task, names or known)
        found |= {where: replace(alike[where], given=one) for where, one in labels.items()}
        said += more
    return found, said


def _from_file(
    sets: Mapping[str, ShardSet], asked: Asked, path: str, known: Names | None
) -> tuple[dict[str, ShardSet], list[str], Names | None]:
    name = f"{asked.name}={path}"
    file = LabelFile.read(Path(path).expanduser(), name, asked.task, known)
    found, said = dict(sets), list(file.said)
    used = np.zeros(len(file.labels.missing), np.bool_)
    for where, one in sets.items():
        rows = file.of_set(one, where)  # (num_samples,)
        if not (rows >= 0).any():
            continue
        used[rows[rows >= 0]] = True
        found[where] = replace(one, given=file.labels.taken(rows))
        said += _told(found[where], where, name)
    if not used.any():
        where, one = next(iter(sets.items()))
        raise UserError(
            f"{name} has {len(used):,} keys, such as {file.key_of(0)!r}, and none of them is a "
            f"sample of {where}, whose first is {first_key(one)!r}; write keys as the tars name "
            "samples: folders and all up to the first dot"
        )
    if not used.all():
        first, num = file.key_of(int(np.flatnonzero(~used)[0])), int((~used).sum())
        said.append(f"{name}: {num:,} of {len(used):,} keys are of no image, as {first!r}")
    without = [where for where in sets if found[where].given is None]
    said += [f"{where}: no key of {name} is there; its tars say its labels" for where in without]
    return found, said, file.labels.names


def _told(shards: ShardSet, where: str, name: str) -> list[str]:
    given, num = shards.given, shards.num_samples
    assert given is not None
    if given.num_known == num:
        return []
    first = first_key(shards, int(np.flatnonzero(given.missing)[0]))
    missing = f"{num - given.num_known:,} of {num:,} images have no label in {name}"
    return [f"{where}: {missing} and are left out, as {first!r}"]
