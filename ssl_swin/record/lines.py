"""Reads and writes text and JSON files, so that a killed process spoils none."""

import json
import os
from pathlib import Path
from typing import Any

from ssl_swin.files import named, replacing

MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # where a file was to be


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def append_line(path: Path, record: dict[str, Any], make_folder: bool = True) -> None:
    """Append one JSON line; the system has it, even if the process is killed right after.

    A line that a killed process has cut off stays a line of its own. A life does not make its
    folder again: where that was moved away, nothing begins anew.

    Raises:
        FileNotFoundError: If the folder is not there and shall not be made.
    """
    if make_folder:
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
    with named(path):
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for text in texts:
        line = parse_line(text)
        if line is not None:
            found.append(line)
    return found


def parse_line(text: str) -> dict[str, Any] | None:
    """Return what a JSON line says, None if it is cut off."""
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) else None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; it is empty if the file is missing or damaged.

    Raises:
        OSError: If the storage fails: what it says of the file would be made anew.
    """
    try:
        with named(path):
            found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (*MISSING, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
