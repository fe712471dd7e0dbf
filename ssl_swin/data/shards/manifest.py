"""The manifest of a folder of tars, `index.json`: samples and bytes of each tar, in one file."""

import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ssl_swin.data.shards import left_out
from ssl_swin.data.shards.left_out import LeftOut
from ssl_swin.data.shards.user_cache import cache_folder
from ssl_swin.errors import ShardError
from ssl_swin.files import replacing

MANIFEST_NAME = "index.json"
_MAX_TAR_BYTES = 2**50  # so that sums over all shards fit into int64
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Entry(NamedTuple):
    """What is known of one tar."""

    num_samples: int
    num_bytes: int
    sha256: str | None = None
    """Of the whole tar, in hex; None where nobody has computed it."""
    left_out: LeftOut | None = None
    """What of the tar is in no sample; None if it was indexed by release 0.1."""


def load_manifest(folder: Path) -> dict[str, Entry]:
    """Read what a folder's `index.json` says under each tar's name; empty where there is none.

    Raises:
        ShardError: If the file is not a manifest of format 1.
    """
    path = folder / MANIFEST_NAME
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}


def parse_manifest(content: bytes, where: str) -> dict[str, Entry]:
    """Do the same with the content of the file, which errors call `where`."""
    try:
        manifest = json.loads(content)
        if manifest["format"] != 1:
            raise ValueError(f"format is {manifest['format']!r}, this version reads 1")
        entries = {name: _entry(*values) for name, values in manifest["shards"].items()}
        # Where it is missing, release 0.1 wrote the manifest, and nothing is known.
        notes = manifest.get("left_out", dict.fromkeys(entries))
        for name, entry in entries.items():
            entries[name] = entry._replace(left_out=left_out.parse(notes.get(name, {})))
            # A sample takes one header at least.
            if not 0 <= entry.num_samples * tarfile.BLOCKSIZE <= entry.num_bytes < _MAX_TAR_BYTES:
                raise ValueError(f"{name}: {entry.num_samples} samples in {entry.num_bytes} bytes")
        return entries
    except _DAMAGED as error:
        raise ShardError(
            f"{where} is not a manifest of shards ({error!r}); move it away and run: "
            f"ssl-swin shards index {where.rpartition('/')[0]}"
        ) from error


def _entry(num_samples: Any, num_bytes: Any, sha256: Any = None) -> Entry:
    return Entry(int(num_samples), int(num_bytes), None if sha256 is None else str(sha256))


def write_manifest(folder: Path, entries: dict[str, Entry]) -> None:
    """Write a folder's `index.json`: what is known of each tar, under its name."""
    shards, notes = [], []
    for name, entry in sorted(entries.items()):
        known = [value for value in entry[:3] if value is not None]
        shards.append(f"{json.dumps(name)}: {json.dumps(known)}")
        if entry.left_out != {}:
            notes.append(f"{json.dumps(name)}: {json.dumps(entry.left_out)}")
    text = '{"format": 1, "shards": {\n' + ",\n".join(shards) + "\n}"
    if any(entry.left_out is not None for entry in entries.values()):
        text += ', "left_out": {' + "".join(f"\n{note}," for note in notes)[:-1] + "\n}"
    text += "}\n"
    with replacing(folder / MANIFEST_NAME) as file:
        file.write(text.encode())


def known_entries(paths: Iterable[Path], cache_dir: Path | None) -> dict[Path, Entry]:
    """What manifests say of these tars; one beside the tars counts before a cached one."""
    known: dict[Path, Entry] = {}
    manifests: dict[str, dict[str, Entry]] = {}
    for path in paths:
        folder, name = os.path.split(path)  # several times faster than `parent` and `name`
        if folder not in manifests:
            places = cache_folder(Path(folder), cache_dir), Path(folder)
            both = [_readable(place) for place in places if place is not None]
            manifests[folder] = {**both[0], **both[-1]}
        if name in manifests[folder]:
            known[path] = manifests[folder][name]
    return known


def _readable(folder: Path) -> dict[str, Entry]:
    """Read a manifest that this user may not be allowed to read; each index says the same."""
    try:
        return load_manifest(folder)
    except (PermissionError, NotADirectoryError):
        return {}
