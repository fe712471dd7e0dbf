"""Deals images to the sets train, val and test, so that each has its share of every class.

Which set an image gets depends on the seed and the list of images alone, on no order of work. Plain
numbers, from the standard library.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ssl_swin.data.shards.left_out import NO_SET, LeftOut, leave_out
from ssl_swin.data.shards.names import SETS as SPELLED
from ssl_swin.data.shards.names import TEST, TRAIN, VAL, set_of
from ssl_swin.errors import UserError
from ssl_swin.shard_tools.source import ImageFile

HELD_OUT = (VAL, TEST)
SETS = (TRAIN, *HELD_OUT)
_MOST_TRIES, _MOST_DEALT = 16, 100_000  # orders of the groups; groups of all orders together
_HALF = Fraction(1, 2)
_ALL = object()  # in place of a class: all images of a set
Sets = dict[str, list[ImageFile]]
"""The images of each set, sorted by name."""


@dataclass(frozen=True)
class Share:
    """A held-out set, and how much of all images it gets."""

    name: str
    share: Fraction


def parse_shares(text: str) -> list[Share]:
    """Read `val=0.1` or `val=0.1,test=0.1`.

    Raises:
        UserError: If it is something else, or leaves nothing to train on.
    """
    found = [
        re.fullmatch(rf"\s*({'|'.join(HELD_OUT)})\s*=\s*(0?\.\d+)\s*", part)
        for part in text.split(",")
    ]
    shares = [Share(one[1], Fraction(one[2])) for one in found if one is not None]
    total, names = sum(one.share for one in shares), {one.name for one in shares}
    if None in found or len(names) < len(shares) or not all(one.share for one in shares):
        raise UserError(
            f"split={text} is no split; give val=0.1 or val=0.1,test=0.1: shares between 0 and 1, "
            "and the rest is for training"
        )
    if total >= 1:
        raise UserError(f"split={text} leaves nothing to train on; give shares of less than 1")
    return shares


def deal(files: Sequence[ImageFile], shares: Sequence[Share], seed: int) -> Sets:
    """Deal images to the held-out sets by their shares, and the rest to train.

    Images of one group stay together, and the sets are as balanced as that allows. Without groups
    each set gets its share of every class, to within one image, and one at least if that is half
    an image; train gets one of each at least.

    Raises:
        UserError: If a set would be empty.
    """
    grouped = any(file.group is not None for file in files)
    names = _by_group(files, shares, seed) if grouped else _by_class(files, shares, seed)
    sets: Sets = {name: [] for name in SETS if name in {TRAIN, *(one.name for one in shares)}}
    for file, name in zip(files, names, strict=True):
        sets[name].append(file)
    empty = [name for name, found in sets.items() if not found]
    if empty:
        num = len({*map(group_of, files)})
        raise UserError(
            f"{len(files)} images{f' of {num} groups' if grouped else ''} are too few for the "
            f"split: {', '.join(empty)} would be empty; give larger shares, or more "
            f"{'groups' if grouped else 'images'}"
        )
    return sets


def by_name(files: Sequence[ImageFile], left_out: LeftOut) -> Sets:
    """Put each image into the set that it is said to be in; one of no set is left out.

    Raises:
        UserError: If a name is none of a set, or there is nothing to train on.
    """
    sets: Sets = {name: [] for name in SETS}
    for file in files:
        name = set_of(file.split or "")
        if name is not None:
            sets[name].append(file)
        elif not file.split:
            leave_out(left_out, NO_SET, file.name)
        else:
            raise UserError(
                f"{file.name!r} is said to be in the set {file.split!r}; sets are called "
                f"{', '.join(SPELLED)}"
            )
    if not sets[TRAIN]:
        raise UserError("there is no image in the set train; nothing would be left to train on")
    return {name: found for name, found in sets.items() if found}


def group_of(file: ImageFile) -> tuple[str, bool]:
    """Return what must stay together with an image: its group, or itself where it has none."""
    return (file.name, False) if file.group is None else (file.group, True)


def _hashed(seed: int, what: str, name: str) -> bytes:
    text = f"{what} {seed} {name}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).digest()


def _by_class(files: Sequence[ImageFile], shares: Sequence[Share], seed: int) -> list[str]:
    """Return the set of each image. What a class has too much for its size, the next one lacks."""
    places: dict[int | None, list[int]] = {}
    for place, file in enumerate(files):
        places.setdefault(file.label, []).append(place)
    names, over = [TRAIN] * len(files), dict.fromkeys((one.name for one in shares), Fraction())
    for _, members in sorted(places.items(), key=lambda each: -1 if each[0] is None else each[0]):
        members.sort(key=lambda place: _hashed(seed, "split", files[place].name))
        start = 0
        for one in shares:
            part = one.share * len(members)
            wanted = part - over[one.name]
            num = max(floor(wanted + _HALF), int(part >= _HALF))
            stop = max(start, min(start + num, len(members) - 1))
            over[one.name] = max(-_HALF, min(_HALF, stop - start - wanted))
            for place in members[start:stop]:
                names[place] = one.name
            start = stop
    return names


def _by_group(files: Sequence[ImageFile], shares: Sequence[Share], seed: int) -> list[str]:
    """Return the set of each image: the best of some orders in which groups choose their set."""
    groups: dict[tuple[str, bool], Counter[Hashable]] = {}
    for file in files:
        groups.setdefault(group_of(file), Counter()).update((file.label, _ALL))
    rest = Share(TRAIN, 1 - sum((one.share for one in shares), Fraction()))
    tries = [
        _Dealing(groups, [rest, *shares], seed, turn)
        for turn in range(max(1, min(_MOST_TRIES, _MOST_DEALT // len(groups))))
    ]
    best = min(tries, key=lambda one: one.imbalance)
    return [best.chosen[group_of(file)] for file in files]


class _Dealing:
    """Groups of images, each of which went where images of its classes were missing the most."""

    def __init__(
        self,
        groups: dict[tuple[str, bool], Counter[Hashable]],
        shares: Sequence[Share],
        seed: int,
        turn: int,
    ) -> None:
        total = sum(groups.values(), Counter[Hashable]())
        self.shares = {one.name: float(one.share) for one in shares}
        self.wanted = {
            name: {kind: share * num for kind, num in total.items()}
            for name, share in self.shares.items()
        }
        self.found = {name: Counter[Hashable]() for name in self.shares}
        self.chosen: dict[tuple[str, bool], str] = {}
        order = sorted(groups, key=lambda group: _hashed(seed, f"groups {turn}", repr(group)))
        for group in order:
            chosen = min(self.shares, key=lambda name: self._worse(name, groups[group]))
            self.found[chosen].update(groups[group])
            self.chosen[group] = chosen

    def _worse(self, name: str, group: Counter[Hashable]) -> float:
        """Return by how much a group would make a set worse."""
        after = {kind: self.found[name][kind] + num for kind, num in group.items()}
        return self._off(name, after) - self._off(name, self.found[name], group)

    def _off(
        self, name: str, found: dict[Hashable, int], kinds: Iterable[Hashable] | None = None
    ) -> float:
        wanted = self.wanted[name]
        kinds = found if kinds is None else kinds
        return sum((found[kind] - wanted[kind]) ** 2 / wanted[kind] for kind in kinds)

    @property
    def imbalance(self) -> float:
        """How far the sets are from their shares of all classes; less is better."""
        return sum(self._off(name, self.found[name], self.wanted[name]) for name in self.shares)
