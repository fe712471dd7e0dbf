"""Which channels of a file are meant, by number or by name; plain words, no pixels."""

from collections.abc import Sequence

from ssl_swin.errors import UserError, nearest

CHANNELS_NAME = "channels.json"  # beside the tars of a set: the names of its files' channels
Names = tuple[str, ...]
Channels = tuple[int, ...] | Names
"""Of a file: numbers counted from 0, or names; never both."""
_MOST_LISTED = 20


def as_names(channels: Channels | None) -> Names | None:
    """Return channels that are named; None of numbers, and of all."""
    found = tuple(one for one in channels or () if isinstance(one, str))
    return found or None


def unusable_names(names: Sequence[object]) -> str | None:
    """Say what is wrong with names of channels; None if each is there once, and no number."""
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            return f"{name!r} is no name"
        if name.strip().lstrip("+-").isdigit():
            return f"the name {name!r} is a number, which stands for a place; call it B{name}"
        if name in names[:place]:
            return f"{name!r} is there twice"
    return None


def numbers_of(
    channels: Channels | None, known: Names | None, asked: str, where: str
) -> tuple[int, ...] | None:
    """Return the numbers of channels, counted from 0; None of None, which is all.

    Args:
        channels: Numbers, which are returned as they are, or names.
        known: The names of a file's channels, in its order; None if nobody has named them.
        asked: What asks for the channels, for messages: the name of a setting.
        where: What has, or lacks, the names.

    Raises:
        UserError: If they are names that are not known.
    """
    names = as_names(channels)
    if channels is None or names is None:
        return None if channels is None else tuple(map(int, channels))
    if known is None:
        raise UserError(
            f"{asked}={listed(names)} are names, and no {CHANNELS_NAME} names the channels of "
            f"{where}; write a JSON list of their names there, or give numbers, counted from 0"
        )
    for name in names:
        if name not in known:
            raise UserError(
                f"{asked} asks for {name!r}; the channels of {where} are {listed(known)}"
                f"{nearest(name, known)}"
            )
    return tuple(known.index(name) for name in names)


def listed(names: Sequence[str]) -> str:
    """List names, of many the first."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"{', '.join(names[:_MOST_LISTED])}{more}"


def places_among(
    shown: Channels | None, taken: tuple[int, ...] | None, known: Names | None, where: str
) -> tuple[int, ...] | None:
    """Return where the channels that pictures show are among those that are taken.

    Args:
        shown: Channels of a file; None leaves it open.
        taken: Numbers of those that are taken, in their order; None for all.
        known: As for `numbers_of`.
        where: Likewise.

    Raises:
        UserError: As `numbers_of`, or if one of them is not taken.
    """
    numbers = numbers_of(shown, known, "data.picture_channels", where)
    if shown is None or numbers is None or taken is None:
        return numbers
    for channel, number in zip(shown, numbers, strict=True):
        if number not in taken:
            raise UserError(
                f"data.picture_channels asks for {channel!r}, which is none of the channels that "
                "are taken; see data.channels"
            )
    return tuple(map(taken.index, numbers))
