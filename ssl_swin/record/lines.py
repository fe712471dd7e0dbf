"""Reads and writes text and JSON files, so that a killed process spoils none."""

import json
import os
from pathlib import Path
from typing import Any

from ssl_swin.files import replacing


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; the system has it, even if the process is killed right after.

    A line that a killed process has cut off stays a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) > 0
        if torn:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(("\n" * torn + json.dumps(record) + "\n").encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a line that is cut off is left out, and a missing file has none."""
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; it is empty if the file is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
