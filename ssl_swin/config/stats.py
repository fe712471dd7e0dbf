"""What `shards info --stats` measured of a set, as settings of `data`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_swin.errors import UserError, usable

_OTHERS = ("dtype", "nodata", "channel_axis")


def read_stats(path: str, channels: Sequence[int] | None) -> dict[str, Any]:
    """Return mean and std of these channels, or of all, and how the files are read.

    Raises:
        UserError: If it is no such file, or lacks a channel.
    """
    with usable(f"data.stats={path}"):
        text = Path(path).read_bytes()
    try:
        known = json.loads(text)
        mean, std = (tuple(map(float, known[name])) for name in ("mean", "std"))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"data.stats={path} is not what ssl-swin shards info --stats writes ({error!r}); "
            "measure the shards and give that file"
        ) from error
    places = range(len(mean)) if channels is None else channels
    if not all(0 <= place < len(mean) for place in places):
        raise UserError(
            f"data.channels={tuple(places)}, but data.stats={path} has {len(mean)} channels, "
            "counted from 0; choose among those"
        )
    numbers = {
        "mean": tuple(mean[place] for place in places),
        "std": tuple(std[place] for place in places),
    }
    return numbers | {name: known[name] for name in _OTHERS if known.get(name) is not None}
