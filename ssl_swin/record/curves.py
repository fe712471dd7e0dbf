"""Makes the curves of earlier lives and of this one a single one, where TensorBoard cannot."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from ssl_swin.files import named
from ssl_swin.record.lines import parse_line, read_lines, write_text
from ssl_swin.record.run_folder import RunFolder

_EVENTS = "events.out.tfevents."


def keep_points(path: Path, last_step: int) -> None:
    """Leave out the points after a step, and of those that stand twice the earlier ones."""
    if not path.is_file():
        return
    kept: dict[Any, str] = {}
    with named(path):
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for text in texts:
        point = parse_line(text)
        if point is not None and point.get("step", 0) <= last_step:
            kept.pop(key := (point.get("step"), *point), None)
            kept[key] = text
    write_text(path, "".join(f"{text}\n" for text in kept.values()))


def last_point(folder: RunFolder, name: str) -> float | None:
    """Return the last point of a run's curve, None if it has none."""
    values = [line.get(name) for line in read_lines(folder.metrics)]
    return next((value for value in reversed(values) if value is not None), None)


def put_in_order(folder: RunFolder) -> None:
    """Name event files whose time is later than this process's as older; a clock was ahead.

    TensorBoard reads files by the seconds in their names. A file of this life that came before one
    of an earlier life would be hidden by it from that life's first step on.
    """
    for place in (folder.train, folder.heldout, folder.tensorboard):
        _put_in_order(place)


def _put_in_order(place: Path) -> None:
    here, paths = f".{socket.gethostname()}.{os.getpid()}.", place.glob("events.out.*")
    files = sorted((*_time_and_rest(path), path) for path in paths)
    latest = min([file[0] for file in files if here in file[1]], default=int(time.time())) - 1
    for seconds, rest, path in reversed([file for file in files if here not in file[1]]):
        if seconds <= latest:
            return
        path.rename(path.with_name(f"{_EVENTS}{latest:010d}{rest}"))
        latest -= 1


def _time_and_rest(path: Path) -> tuple[int, str]:
    """Take the name of an event file apart: seconds, and what makes it differ from others."""
    seconds, dot, rest = path.name.removeprefix(_EVENTS).partition(".")
    return (int(seconds) if seconds.isdigit() else 0), dot + rest
