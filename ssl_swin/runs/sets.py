"""The shard sets of a run, opened together: what they leave out, and whether their classes agree.

Imports no torch: `submit` opens them, too.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.batches.labels import usable_labels
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.labelling.scale import scale_of, scale_told, scaled
from ssl_swin.data.open import join
from ssl_swin.data.shards.channel_names import channel_names_of
from ssl_swin.data.shards.classes import Names, alike, listed, names_of, renumber
from ssl_swin.data.shards.given import NUMBERS
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError
from ssl_swin.runs.sizes import labels_of, open_set, open_sets


@dataclass(frozen=True)
class RunSets:
    """What a run trains on, and what it is measured on."""

    train: list[ShardSet]
    heldout: ShardSet | None
    said: list[str]
    """What whoever starts the run must know of them, line by line."""
    named: dict[str, Names] = field(default_factory=dict)
    """Where a set is -> the names of its classes, of those that have any."""
    train_renumber: tuple[int, ...] | None = None
    """The run's number of each class of the training sets; None if it is the same one."""
    heldout_renumber: tuple[int, ...] | None = None
    """The same of the held-out set."""
    labelled: ShardSet | None = None
    """Of which a pretraining looks at a few images and their labels."""

    @property
    def classes(self) -> Names | None:
        """The name of each class, as the first set that names them says; None if none does."""
        return next(iter(self.named.values()), None)

    @cached_property
    def channel_names(self) -> tuple[str, ...] | None:
        """The names of the channels of the training files, in their order; None if they have none.

        Colours have none: ask only of numbers that are taken as they are.
        """
        return channel_names_of(join(self.train)) if self.train else None

    def renumbered(self, order: tuple[int, ...] | None) -> "RunSets":
        """Return them with other numbers: `order` has the new one of each class of `classes`."""
        if order is None:
            return self
        heldout = self.heldout_renumber
        heldout = order if heldout is None else tuple(order[number] for number in heldout)
        return replace(self, train_renumber=order, heldout_renumber=heldout)


def open_run_sets(config: RunConfig, index_missing: bool = True) -> RunSets:
    """Open the sets of a run and hold them against one another.

    Raises:
        ShardError: If shards are missing, an index is and may not be made, or classes differ.
        UserError: If there is no held-out image.
    """
    data, of_labels = config.data, list[str]()
    train, heldout, labelled = open_sets(data, index_missing), None, None
    sets = dict(zip(data.patterns, train, strict=True))
    if data.val_shards is not None:
        heldout = open_set(data, data.val_shards, index_missing)
        sets[data.val_shards] = heldout
    if data.labelled_shards is not None and config.training.monitor_every_epochs:
        labelled = open_set(data, data.labelled_shards, index_missing)
        sets[data.labelled_shards] = labelled
        given, of_labels = attach(
            {data.labelled_shards: labelled}, Asked(file=data.labels, name="data.labels")
        )
        labelled = given[data.labelled_shards]
    said = [line for where, one in sets.items() for line in describe(one.left_out, where)]
    if heldout is not None and not heldout.num_samples:
        raise UserError(
            f"data.val_shards={data.val_shards} holds no image; give others, or null for no "
            f"held-out measurement{''.join(f' ({line})' for line in said)}"
        )
    if not isinstance(config, FinetuneConfig):
        return RunSets(train, heldout, said + of_labels, labelled=labelled)
    asked = Asked(config.task, config.data.label_field, data.labels, "data.labels")
    sets, of_labels = attach(sets, asked)
    said += of_labels
    if config.task == NUMBERS:
        scale = scale_of([sets[where].given for where in data.patterns])
        sets = {where: scaled(one, scale) for where, one in sets.items()}
        said.append(scale_told(scale))
    train = [sets[where] for where in data.patterns]
    heldout = None if data.val_shards is None else sets[data.val_shards]
    found = {where: names_of(one) for where, one in sets.items()}
    named = {where: names for where, names in found.items() if names is not None}
    said += _describe_classes(config, list(found), named)
    order = _compare_classes(named, data.val_shards)
    if order is not None:
        said.append(f"classes are in another order in {data.val_shards}: they are mapped by name")
    return RunSets(train, heldout, said, named, heldout_renumber=order)


def _describe_classes(
    config: FinetuneConfig, patterns: list[str], named: dict[str, Names]
) -> list[str]:
    said = [
        f"warning: the classes {one!r} and {other!r} of {where} may be one thing"
        for where, names in named.items()
        for one, other in alike(names)
    ]
    nameless = [where for where in patterns if where not in named]
    if nameless and len(patterns) > 1:
        said.append(
            f"no classes.json beside {' or '.join(nameless)}: the sets are taken to number their "
            "classes alike"
        )
    said += [
        f"warning: num_classes={config.num_classes}, and {where} names {len(names)} classes"
        for where, names in named.items()
        if config.num_classes not in (None, len(names))
    ]
    return said


def _compare_classes(named: dict[str, Names], heldout: str | None) -> tuple[int, ...] | None:
    """Refuse sets of other classes; return how those of the held-out set are renumbered."""
    order = None
    for where, names in named.items():
        first = next(iter(named))
        order = renumber(names, named[first], where, first)
        if order is not None and where != heldout:
            raise UserError(
                f"{where} has the classes of {first} in another order; pack it again with "
                f"ssl-swin shards create --classes-from {first}"
            )
    return order


def check_labels(config: RunConfig, sets: RunSets) -> list[str]:
    """Look at every label of a run's sets beforehand; return what is to be said.

    Raises:
        UserError: If a sample has no label, or one that is no class of the model.
    """
    labels, heldout = labels_of(config, sets.train_renumber), sets.heldout
    if labels is None:
        return []
    said = [labels.check(one, "training") for one in sets.train]
    if heldout is not None:
        said.append(replace(labels, renumber=sets.heldout_renumber).check(heldout, "held-out"))
    said.append(_untrained(config, sets))
    return [line for line in said if line is not None]


def _untrained(config: RunConfig, sets: RunSets) -> str | None:
    """Warn of classes that held-out images have and no training image, where that is known."""
    if not isinstance(config, FinetuneConfig) or config.task == NUMBERS or sets.heldout is None:
        return None
    field, held = config.data.label_field, sets.heldout
    parts = [_present(one, field, sets.train_renumber) for one in sets.train]
    asked = _present(held, field, sets.heldout_renumber)
    if asked is None or None in parts:
        return None
    absent = sorted(asked.difference(*filter(None, parts)))
    numbers = sets.train_renumber or range(config.counted_classes)
    names = dict(zip(numbers, sets.classes or (), strict=False))
    if not absent:
        return None
    told = listed([names.get(number, str(number)) for number in absent])
    return f"warning: held-out images are of {told}, and no training image is: nobody learns that"


def _present(shards: ShardSet, field: str, renumber: tuple[int, ...] | None) -> set[int] | None:
    """Return the run's number of each class that a set has images of; None if nobody knows."""
    given = shards.given
    label = given.values if given is not None else usable_labels(shards, field)
    if label is None:
        return None
    found = np.unique(label).tolist()
    return {*found} if renumber is None else {renumber[number] for number in found}
