"""The classes of samples: read, all checked before a run starts, and a part balanced over them."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.label_file import MISSING, UNUSABLE, bytes_to_read, parse_label
from ssl_swin.data.shards.left_out import APART, ODD_LABEL
from ssl_swin.data.shards.one_maker import one_maker
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.draw import Purpose, permutation
from ssl_swin.errors import ShardError, UserError

Answer = TypeVar("Answer")

_NUM_THREADS = 8
_MOST_REQUESTS = 10_000  # for the labels of a remote set that has no label files: minutes
_NUM_NAMED = 3
FEWEST_OF_A_CLASS = 8  # so that its images have neighbours of their class


@dataclass(frozen=True)
class Labels:
    """Where labels come from: `.cls` members, or this field of `.json` members."""

    num_classes: int
    """Classes of the model, numbered from 0."""
    field: str = "label"
    renumber: tuple[int, ...] | None = None
    """The model's number of each class of the shards, where their order is another one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a sample has: one number."""
        return ()

    @classmethod
    def of(cls, shards: ShardSet, field: str = "label") -> "Labels":
        """Return the labels of a set: as many classes as `classes.json` names, or as are labelled.

        Raises:
            UserError: If a sample has no label, or one that has no name.
        """
        names = names_of(shards)
        label = all_labels(shards, field) if names is None else np.empty(0, np.int64)
        found = cls(max(1, int(label.max(initial=-1)) + 1) if names is None else len(names), field)
        found.check(shards, "given")
        return found

    def read(self, reader: ShardReader, shard: int, row: int) -> int:
        """Return one sample's label; ShardError if it has none, or no class of the model."""
        label = reader.label(shard, row, self.field)
        if self.renumber is not None and label < len(self.renumber):
            label = self.renumber[label]
        if not 0 <= label < self.num_classes:
            raise ShardError(
                f"{reader.shards.storage.where(shard)}, sample {row}: label {label} is not a class "
                f"of the model, which knows 0 to {self.num_classes - 1}; set num_classes or mend "
                "the shard"
            )
        return label

    def check(self, shards: ShardSet, name: str) -> str | None:
        """Hold every label of a set against the model's classes; errors call the set `name`.

        Returns what is to be said if that would take too many requests, else None.

        Raises:
            UserError: If a sample has no label, or one that is no class of the model.
        """
        if shards.given is not None:
            self.all(shards, name)
            return None
        kept = _kept_labels(shards, self.field)
        num = _num_requests(shards, kept)
        if num > _MOST_REQUESTS:
            return (
                f"the labels of the {name} images are looked at when they are drawn, since reading "
                f"them now takes {num} requests; ssl-swin shards index, run where the shards lie, "
                "spares them"
            )
        self._map(_read_labels(shards, self.field, kept), shards, name)
        return None

    def all(self, shards: ShardSet, name: str) -> np.ndarray:
        """Return the model's class of every sample, int64 (num_samples,); errors as `check`."""
        return self._map(all_labels(shards, self.field), shards, name)

    def _map(self, label: np.ndarray, shards: ShardSet, name: str) -> np.ndarray:
        """Return the model's class of each label of a set, int64 (num_samples,)."""
        if self.renumber is not None:
            number = np.array(self.renumber)  # (number of names,)
            named = (label >= 0) & (label < len(number))
            label[named] = number[label[named]]
        if len(label) and (label == MISSING).all():
            raise UserError(
                f"none of the {len(label)} {name} images has a label, the first is in "
                f"{shards.storage.where(0)}: each needs a class, a whole number in .cls or in "
                "data.label_field of .json; ssl-swin shards create makes classes of folders"
                f"{_hint(shards)}"
            )
        wrong = np.flatnonzero((label < 0) | (label >= self.num_classes))
        if shards.given is not None:  # where one is missing has been said
            wrong = wrong[label[wrong] != MISSING]
        if len(wrong):
            raise UserError(
                f"{len(wrong)} of {len(label)} {name} images have no class of the model, which "
                f"knows 0 to {self.num_classes - 1}: {name_labels(shards, label, wrong)}; "
                f"{self._remedy(label)}{_hint(shards)}"
            )
        return label

    def _remedy(self, label: np.ndarray) -> str:
        usable = label[label >= 0]
        if not len(usable):
            return "a label is a whole number in .cls, or in data.label_field of .json"
        if usable.max() < self.num_classes:
            return "give each of them a label, or leave it out of the shards"
        from_one = usable.min() == 1 and usable.max() == self.num_classes
        if from_one and self.renumber is None:
            return (
                f"the labels run from 1 to {self.num_classes}, so they seem to be numbered from 1: "
                "number them from 0"
            )
        return f"set num_classes to {usable.max() + 1} or more, or mend the shards"


def _hint(shards: ShardSet) -> str:
    told = [(why, *shards.left_out[why]) for why in (APART, ODD_LABEL) if why in shards.left_out]
    return "".join(f"; {num} {why}, as {example!r}" for why, num, example in told)


def name_labels(shards: ShardSet, label: np.ndarray, places: np.ndarray) -> str:
    """Name the first of some places in a set, with the label of each; little is fetched."""
    reader, named = ShardReader(shards, whole=False), []
    first = places[:_NUM_NAMED]
    for place, shard, row in zip(first, *shards.locate(first), strict=True):
        found = {MISSING: "without a label", UNUSABLE: "whose label is no number"}
        what = found.get(int(label[place]), f"of class {label[place]}")
        key = reader.key(int(shard), int(row))
        named.append(f"{key!r} {what} in {shards.storage.where(int(shard))}")
    return ", ".join(named) + (", ..." if len(places) > len(first) else "")


def all_labels(shards: ShardSet, field: str) -> np.ndarray:
    """Return the label of every sample, or `MISSING` or `UNUSABLE`, int64 (num_samples,).

    One process of all that ask reads them, in parallel, and they are kept in the label files. No
    image is read; but of a remote set with many labels and no label files whole tars come into the
    cache, which is faster.
    """
    if shards.given is not None:
        return shards.given.number.copy()
    return _read_labels(shards, field, _kept_labels(shards, field))


def usable_labels(shards: ShardSet, field: str) -> np.ndarray | None:
    """Return the labels there are, int64 (number,); None if that would take too many requests."""
    if shards.given is not None:
        return shards.given.number[shards.given.number >= 0]
    kept = _kept_labels(shards, field)
    if _num_requests(shards, kept) > _MOST_REQUESTS:
        return None
    label = _read_labels(shards, field, kept)
    return label[label >= 0]


def _kept_labels(shards: ShardSet, field: str) -> list[np.ndarray | None]:
    """Return the labels of each shard, int64 (count,), for which nothing of its tar is to be read.

    Those in label files of a remote set are kept in the cache. So many shards that looking for
    their files takes too many requests are not asked for them.
    """
    if shards.storage.request_bytes is not None and len(shards.counts) > _MOST_REQUESTS:
        return [None] * len(shards.counts)
    return _each(partial(_kept, shards, field), range(len(shards.counts)))


def _num_requests(shards: ShardSet, kept: Sequence[np.ndarray | None]) -> int:
    """Return how many requests it takes to read the other labels of a set; 0 if it is here."""
    smallest = shards.storage.request_bytes
    if smallest is None:
        return 0
    return sum(
        int(min(count, num_bytes // smallest + 1))
        for count, num_bytes, found in zip(shards.counts, shards.bytes, kept, strict=True)
        if found is None
    )


def _read_labels(shards: ShardSet, field: str, kept: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return the label of every sample, int64 (num_samples,), reading what is not kept."""
    parts = dict(enumerate(kept))
    missing = [shard for shard, found in parts.items() if found is None]
    if missing:
        whole = _num_requests(shards, kept) > _MOST_REQUESTS
        progress = partial(_progress, shards, field, missing)
        with one_maker(shards.storage.label_lock(missing[0]), progress):
            read = _each(partial(_labels_of, shards, field, whole), missing)
        parts.update(zip(missing, read, strict=True))
    return np.concatenate([np.empty(0, np.int64), *parts.values()])


def _each(function: Callable[[int], Answer], shards: Iterable[int]) -> list[Answer]:
    """Call a function on each of these shards, in threads."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(function, shards))


def _progress(shards: ShardSet, field: str, missing: Sequence[int]) -> str:
    """Say how far another process is."""
    num = sum(shards.storage.kept_labels(shard, field) is not None for shard in missing)
    return f"the labels of {num} of {len(missing)} shards are read"


def _kept(shards: ShardSet, field: str, shard: int) -> np.ndarray | None:
    """Return the labels of one shard, int64 (count,), if nothing of its tar is to be read."""
    rows = shards.storage.rows(shard)
    if not rows["label_kind"].any():
        return np.full(len(rows), MISSING, np.int64)
    return shards.storage.kept_labels(shard, field)


def _labels_of(shards: ShardSet, field: str, whole: bool, shard: int) -> np.ndarray:
    """Return the labels of one shard, int64 (count,), from its label file or from the tar."""
    kept = _kept(shards, field, shard)
    if kept is not None:
        return kept
    storage, rows = shards.storage, shards.storage.rows(shard)
    kinds, sizes = rows["label_kind"].tolist(), rows["label_size"].tolist()
    sizes = map(bytes_to_read, kinds, sizes)
    places = list(zip(rows["label_offset"].tolist(), sizes, strict=True))
    if whole:
        texts = [storage.read(shard, *place) for place in places]
    else:
        texts = storage.read_pieces(shard, places)
    found = [parse_label(*each, field) for each in zip(kinds, texts, strict=True)]
    label = np.array(found, np.int64)
    storage.keep_labels(shard, field, label)
    return label


def balanced_subset(shards: ShardSet, labels: Labels, num_labels: int, seed: int) -> np.ndarray:
    """Draw equally many samples of each class, one more of the first classes if there is a rest.

    Reads all labels. Returns places in the shard set, int64 (num_labels,), ascending.

    Raises:
        UserError: If the set has fewer samples of some class than its part, or as `Labels.check`.
    """
    label = labels.all(shards, "training")  # (num_samples,)
    parts = np.full(labels.num_classes, num_labels // labels.num_classes)  # (num_classes,)
    parts[: num_labels % labels.num_classes] += 1
    chosen = []
    for kind, part in enumerate(parts):
        members = np.flatnonzero(label == kind)  # (samples of the class,)
        if len(members) < part:
            raise UserError(
                f"data.num_labels={num_labels} needs {part} images of class {kind}; the training "
                f"shards hold {len(members)}; ask for fewer labels"
            )
        chosen.append(members[permutation(len(members), Purpose.SUBSET, seed, kind)[:part]])
    return np.sort(np.concatenate(chosen))


def some_of_each_class(label: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Draw at most `num` images, as many of each class as of any other, where it has them.

    There are `FEWEST_OF_A_CLASS` or more of each, or all it has: if that does not fit, classes are
    drawn, too. A class of one image is left out, for nothing is like it.

    Args:
        label: The class of each image, int64 (num_images,); negative if it is not known.
        num: Images.
        seed: Of the draws, which depend on nothing else.

    Returns:
        Places, int64, ascending; none if no class has two images.
    """
    classes, count = np.unique(label[label >= 0], return_counts=True)
    classes, count = classes[count > 1], count[count > 1]
    order = permutation(len(classes), Purpose.MONITORED, seed, 0)
    needed = np.minimum(count[order], FEWEST_OF_A_CLASS).cumsum()
    classes = classes[order[: max(1, np.searchsorted(needed, num, side="right"))]]
    most = max(min(FEWEST_OF_A_CLASS, num), num // len(classes)) if len(classes) else 0
    chosen = [np.empty(0, np.int64)]
    for kind in classes.tolist():
        members = np.flatnonzero(label == kind)  # (images of the class,)
        order = permutation(len(members), Purpose.MONITORED, seed, 1 + kind)
        chosen.append(members[order[:most]])
    return np.sort(np.concatenate(chosen))
