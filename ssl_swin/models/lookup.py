"""A name that a user writes -> what a table has under it."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from ssl_swin.errors import UserError

T = TypeVar("T")


def look_up(table: Mapping[str, T], setting: str, name: str) -> T:
    """Return the entry of a table such as `ENCODERS`, under the name that a user gave a setting.

    Raises:
        UserError: If the table has no such entry.
    """
    if name not in table:
        begin_so = [one for one in table if one.startswith(name)] if name else []
        alike = difflib.get_close_matches(name, table, n=3, cutoff=0.0)
        nearest = [*dict.fromkeys((*begin_so[:2], *alike))][:3]
        raise UserError(f"{setting}={name!r} is not known; nearest: {', '.join(nearest)}")
    return table[name]
