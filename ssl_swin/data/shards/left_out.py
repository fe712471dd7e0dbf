"""What of tars and folders is in no sample: why, how much of it, and one of it by name.

Indexes keep these reasons as they stand here; one that is worded anew counts as another one.
"""

from collections.abc import Iterable
from typing import Any

from ssl_swin.data.shards.names import printable

LeftOut = dict[str, tuple[int, str]]
"""Reason -> how many were left out for it, and the name of one of them."""

HIDDEN = "hidden, or in folders such as @eaDir and __MACOSX"
LINK = "symbolic links, or hard links to no other file of the tar"
DANGLING = "links that lead nowhere"
NO_FILE = "neither a file nor a folder"
NO_EXTENSION = "files without an extension"
NOT_AN_IMAGE = "files without an image's extension"
NO_IMAGE = "keys without an image"
SECOND = "further images of a key, which ends at the first dot of a name"
BESIDE = "images beside the plainly named one of their key"
ODD_LABEL = "labels with a word between their key, which ends at the first dot, and cls"
APART = "labels not next to their image (tar --sort=name puts them there)"
UNREADABLE = "files that cannot be read"
PAGES = "files of several pictures, of which the first is taken"
AGAIN = "in the set already, under another name"
DUPLICATE = "byte for byte the same as another image, which is kept"
NOT_LISTED = "images that the list does not name"
NOT_THERE = "rows whose file is not there"
SEVERAL = "rows that several files fit"
TWICE = "rows that name an image again"
NO_LABEL = "rows without a label"
NO_SET = "in no folder of a set, or in a row of none"

_LONGEST_NAME = 100


def leave_out(left_out: LeftOut, reason: str, name: str, num: int = 1) -> None:
    """Count one more, or so many; the example is the first that is named."""
    if num:
        before, example = left_out.get(reason, (0, printable(name)[:_LONGEST_NAME]))
        left_out[reason] = before + num, example


def add_up(parts: Iterable[LeftOut | None]) -> LeftOut:
    """Return what all parts left out; None is a part of which it is not known."""
    total: LeftOut = {}
    for part in parts:
        for reason, (num, example) in (part or {}).items():
            leave_out(total, reason, example, num)
    return total


def parse(value: Any) -> LeftOut | None:
    """Read what JSON holds of it; None if nothing is known.

    Raises:
        ValueError, TypeError or AttributeError: If it is something else.
    """
    if value is None:
        return None
    found = {str(reason): (int(num), str(example)) for reason, (num, example) in value.items()}
    if any(num < 1 for num, _ in found.values()):
        raise ValueError(f"left out: {value!r}")
    return found


def describe(left_out: LeftOut, where: str) -> list[str]:
    """Say in one line what was left out of `where`; no line if nothing was."""
    parts = [f"{num} {reason}, as {example!r}" for reason, (num, example) in left_out.items()]
    return [f"left out of {where}: {'; '.join(parts)}"] if parts else []
