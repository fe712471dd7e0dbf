"""A name that a user writes -> what a table has under it."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from ssl_swin.errors import UserError

T = TypeVar("T")


_FEW = 12  # names that are all listed


def look_up(table: Mapping[str, T], setting: str, name: str, listing: str = "") -> T:
    """Return the entry of a table such as `ENCODERS`, under the name that a user gave a setting.

    Of a table of many names a refusal has the nearest alone, and then `listing`: what lists all.

    Raises:
        UserError: If the table has no such entry.
    """
    if name not in table:
        if len(table) <= _FEW:
            raise UserError(f"{setting}={name!r} is not known; give one of {', '.join(table)}")
        begin_so = [one for one in table if one.startswith(name)] if name else []
        alike = difflib.get_close_matches(name, table, n=3, cutoff=0.0)
        nearest = [*dict.fromkeys((*begin_so[:2], *alike))][:3]
        rest = f"; all: {listing}" if listing else ""
        raise UserError(f"{setting}={name!r} is not known; nearest: {', '.join(nearest)}{rest}")
    return table[name]
