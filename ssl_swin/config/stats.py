"""What `shards info --stats` measured of a set, as settings of `data`."""

import json
from pathlib import Path
from typing import Any

from ssl_swin.data.pixels.channels import Channels, numbers_of
from ssl_swin.errors import UserError, usable

_OTHERS = ("dtype", "nodata", "channel_axis")


def read_stats(path: str, channels: Channels | None) -> dict[str, Any]:
    """Return mean and std of these channels, or of all, and how the files are read.

    Where they have names, these are the `channels`, so that those of a set whose files have them in
    another order are found.

    Raises:
        UserError: If it is no such file, or lacks a channel.
    """
    with usable(f"data.stats={path}"):
        text = Path(path).read_bytes()
    try:
        known = json.loads(text)
        mean, std = (tuple(map(float, known[name])) for name in ("mean", "std"))
        names = tuple(map(str, known["channels"])) if known.get("channels") else None
        if names is not None and len(names) != len(mean):
            raise ValueError(f"{len(names)} channels and {len(mean)} means")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"data.stats={path} is not what ssl-swin shards info --stats writes ({error!r}); "
            "measure the shards and give that file"
        ) from error
    numbers = numbers_of(channels, names, "data.channels", f"data.stats={path}")
    places = tuple(range(len(mean))) if numbers is None else numbers
    if not all(0 <= place < len(mean) for place in places):
        raise UserError(
            f"data.channels={places}, but data.stats={path} has {len(mean)} channels, "
            "counted from 0; choose among those"
        )
    found: dict[str, Any] = {
        "mean": tuple(mean[place] for place in places),
        "std": tuple(std[place] for place in places),
    }
    found |= {} if names is None else {"channels": tuple(names[place] for place in places)}
    return found | {name: known[name] for name in _OTHERS if known.get(name) is not None}
