"""What trackers of others (wandb, mlflow) know of a run: its id there, and how far it was sent."""

import importlib.util
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ssl_swin.errors import UserError
from ssl_swin.record.lines import parse_line, read_json, write_text
from ssl_swin.record.run_folder import RunFolder

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}
"""Tracker, which is also the name that is imported -> the package that brings it."""


def require_packages(loggers: Iterable[str]) -> None:
    """Refuse loggers whose package is not installed; nothing is imported.

    Raises:
        UserError: If one is missing.
    """
    for name in loggers:
        if name in PACKAGES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"training.loggers names {name}, which is not installed: pip install "
                f"'ssl-swin[{name}]' (it brings {PACKAGES[name]}), or leave {name} out"
            )


class Sent:
    """How far the points of a run were sent to one tracker, over all lives.

    It stands in the run folder with the run's id there, so a life that does steps again sends none
    of their points twice, and one that follows a killed life sends what is missing.
    """

    def __init__(self, folder: RunFolder, tracker: str) -> None:
        self.path = folder.tracking(tracker)
        known = read_json(self.path)
        self.id: str = known.get("id") or secrets.token_hex(8)
        self.whole: bool = known.get("whole", False)  # the run is finished, and all of it is there
        self._last: dict[str, int] = known.get("last_steps", {})

    def unsent(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Return of a line of `metrics.jsonl` what was not sent."""
        step = point["step"]
        return {
            name: value
            for name, value in point.items()
            if name != "step" and step > self._last.get(name, -1)
        }

    def note(self, names: Iterable[str], step: int) -> None:
        """Remember that points of a step were sent; `write` keeps it."""
        self._last.update(dict.fromkeys(names, step))

    def forget_after(self, step: int) -> None:
        """Send points after a step again: the tracker has lost them, or never had any (-1)."""
        self._last = {name: min(last, step) for name, last in self._last.items()}

    def write(self) -> None:
        """Write it down."""
        known = {"id": self.id, "whole": self.whole, "last_steps": self._last}
        write_text(self.path, json.dumps(known, indent=2) + "\n")


class Points:
    """The lines of a `metrics.jsonl` that grows, each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0  # bytes

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that came since; one counts as read when the next is asked for."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        for line in text[: text.rfind(b"\n") + 1].splitlines(keepends=True):
            point = parse_line(line.decode(errors="replace"))
            if point is not None and "step" in point:
                yield point
            self._read += len(line)
