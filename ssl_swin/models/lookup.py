"""A name -> what a table of this house has under it."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from ssl_swin.errors import UserError

T = TypeVar("T")


def look_up(table: Mapping[str, T], name: str, setting: str) -> T:
    """Return the entry of a table.

    Args:
        table: Such as `ENCODERS` or `MASKS`.
        name: Of the entry.
        setting: What the user set to this name, for the error.

    Raises:
        UserError: If the table has no such entry.
    """
    if name not in table:
        nearest = difflib.get_close_matches(name, table, n=3, cutoff=0.0)
        raise UserError(f"{setting}={name!r} is not known; nearest: {', '.join(nearest)}")
    return table[name]
