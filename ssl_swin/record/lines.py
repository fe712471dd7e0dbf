"""Text files, JSON lines and JSON objects of a run folder, which outlive a killed process."""

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
    """Append one JSON line and hand it to the system, so that a killed process keeps it.

    A last line that a killed process did not finish stays a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) > 0
        if torn:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(("\n" * torn + json.dumps(record) + "\n").encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; what a killed process did not finish, or a missing file, is passed over."""
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
    """Read a file of one JSON object; nothing where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
