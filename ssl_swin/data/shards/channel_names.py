"""The names of the channels of a set's files, `channels.json` beside its tars."""

import json

from ssl_swin.data.pixels.channels import CHANNELS_NAME, Names, unusable_names
from ssl_swin.data.shards.classes import names_beside
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError


def channel_names_of(shards: ShardSet) -> Names | None:
    """Return the names of a set's channels, in the order of its files; None if nobody wrote them.

    Raises:
        ShardError: If the file is damaged, or the folders of the set have different ones.
    """
    remedy = (
        "images whose channels are in another order are a set of their own, to be packed anew in "
        "the first one's order"
    )
    return names_beside(shards, CHANNELS_NAME, parse_channel_names, remedy)


def require_as_many(names: Names | None, num_channels: int, where: str) -> None:
    """Refuse names that are not as many as an image has channels.

    Raises:
        ShardError: If so.
    """
    if names is not None and len(names) != num_channels:
        raise ShardError(
            f"{where}: its images have {num_channels} channels, and {CHANNELS_NAME} names "
            f"{len(names)}; write a name for each"
        )


def parse_channel_names(content: bytes, where: str) -> Names:
    """Read a `channels.json`, which errors call `where`.

    Raises:
        ShardError: If it is no list of names, each there once and no number.
    """
    try:
        names = json.loads(content)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names:
        raise ShardError(
            f'{where} is no list of names of channels; write it as JSON, such as ["red", "nir"], '
            "or move it away"
        )
    if why := unusable_names(names):
        raise ShardError(f"{where}: {why}; write a name for each channel, each of them once")
    return tuple(names)
