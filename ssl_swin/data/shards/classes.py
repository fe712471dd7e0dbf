"""The names of a set's classes, `classes.json` beside its tars: read, and held against others.

A label is a number; what it means stands here, and nowhere in a tar.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError, UserError

CLASSES_NAME = "classes.json"
_MOST_LISTED = 5
Names = tuple[str, ...]
"""The place of a name is the number of its class."""


def names_of(shards: ShardSet) -> Names | None:
    """Return the names of a set's classes; None if there are none beside its tars, or in labels.

    Raises:
        ShardError: If the file is damaged, or the folders of the set have different ones.
    """
    if shards.given is not None and shards.given.names is not None:
        return shards.given.names
    remedy = "pack them with the same --classes, or give the folders as sets of their own"
    return names_beside(shards, CLASSES_NAME, parse_names, remedy)


def names_beside(
    shards: ShardSet, file_name: str, parse: Callable[[bytes, str], Names], remedy: str
) -> Names | None:
    """Return the names in the files of this name beside a set's tars; None if there are none.

    Raises:
        ShardError: As `parse`, which takes what a file holds and where it is; or if the folders of
            the set have different ones, with the `remedy`.
    """
    beside = shards.storage.read_beside(file_name)
    found = {where: parse(content, where) for where, content in beside.items()}
    if len(set(found.values())) > 1:
        first = next(iter(found))
        other = next(where for where in found if found[where] != found[first])
        raise ShardError(
            f"{first} and {other} are beside the tars of one set, and differ; {remedy}"
        )
    return next(iter(found.values()), None)


def parse_names(content: bytes, where: str) -> Names:
    """Read a `classes.json`, which errors call `where`.

    Raises:
        ShardError: If it is no list of names, each there once.
    """
    try:
        names = json.loads(content)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ShardError(f"{where} is no list of class names; write it as JSON, or move it away")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShardError(f"{where} names the class {twice!r} twice; rename one of them")
    return tuple(names)


def renumber(names: Names, known: Names, where: str, known_where: str) -> tuple[int, ...] | None:
    """Return the number that each class of `names` has among the `known`; None if all agree.

    Raises:
        ShardError: If one of them has a class that the other has not.
    """
    if names == known:
        return None
    extra, missing = sorted(set(names) - set(known)), sorted(set(known) - set(names))
    if extra or missing:
        parts = [f"{listed(missing)} only in {known_where}"] if missing else []
        parts += [f"{listed(extra)} only in {where}"] if extra else []
        spelled = _spelled_twice([*extra, *missing])
        raise ShardError(
            f"the sets have other classes: {' and '.join(parts)}{spelled}; pack {where} again with "
            f"ssl-swin shards create --classes-from {known_where}"
        )
    return tuple(known.index(name) for name in names)


def numbers_among(
    names: Names, used: Iterable[int], known: Names, where: str, who: str, remedy: str = ""
) -> tuple[int, ...]:
    """Return the number that each class of `names` has among the `known`, -1 where it has none.

    Args:
        names: The classes of a set, which may have more of them than it uses.
        used: Numbers of those that it has images of.
        known: The classes of what knows them.
        where: How errors call the set.
        who: How they call what knows the classes.
        remedy: What they say at their end.

    Raises:
        UserError: If a class that is used is none of the known.
    """
    unknown = [names[number] for number in used if names[number] not in known]
    if unknown:
        raise UserError(
            f"{where} has classes that {who} does not know: {listed(unknown)}; it knows "
            f"{listed(known)}{_spelled_twice(unknown, known)}{remedy}"
        )
    number = {name: place for place, name in enumerate(known)}
    return tuple(number.get(name, -1) for name in names)


def _spelled_twice(unknown: Sequence[str], known: Sequence[str] = ()) -> str:
    """Say which of the unknown names may be another one, spelled otherwise."""
    pairs = [pair for pair in alike([*unknown, *known]) if {*pair} & {*unknown}]
    return "".join(f"; {a!r} and {b!r} may be one thing, spelled twice" for a, b in pairs)


def listed(names: Sequence[str]) -> str:
    """List the first of some names."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(map(repr, names[:_MOST_LISTED])) + more


def alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that may be two spellings of one thing, such as Bird and bird."""
    first: dict[str, str] = {}
    return [
        (first[_plain(name)], name)
        for name in sorted(set(names))
        if first.setdefault(_plain(name), name) != name
    ]


def _plain(name: str) -> str:
    """Return a name without case, and without what parts its words."""
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold())
