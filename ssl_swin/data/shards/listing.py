"""The tars of a local pattern, each once: no links to one another, no files that a Mac adds."""

import os
from collections.abc import Iterable
from pathlib import Path

from ssl_swin.data.shards.instead import what_is_there
from ssl_swin.data.shards.left_out import AGAIN, HIDDEN, LeftOut, leave_out
from ssl_swin.data.shards.names import expand
from ssl_swin.errors import ShardError


def find_local_tars(pattern: str) -> tuple[tuple[Path, ...], LeftOut]:
    """Find the tars that a local pattern names, in its order, and what it names beside them.

    Raises:
        ShardError: If nothing is found, or a tar that the pattern names is not there.
    """
    left_out: LeftOut = {}
    found = _expanded(pattern)
    tars = [path for path in found if not path.name.startswith("._")]
    for path in set(found) - set(tars):
        leave_out(left_out, HIDDEN, path.name)
    if not tars:
        raise ShardError(
            f"shards={pattern} holds nothing but what a Mac adds to tars (._x.tar); copy the tars "
            "themselves there"
        )
    twice = {path for same in _same_files(tars) for path in same[1:]}
    for path in sorted(twice):
        leave_out(left_out, AGAIN, path.name)
    return tuple(path for path in tars if path not in twice), left_out


def _expanded(pattern: str) -> list[Path]:
    """Expand a pattern; where it names no tar, say what is there instead."""
    try:
        return expand(pattern)
    except ShardError as error:
        remedy = what_is_there(Path(os.path.expanduser(pattern)))
        if remedy is None:
            raise
        raise ShardError(f"shards={pattern} matches no tar: {remedy}") from error


def _same_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Return the groups of paths that are one file, the one that is no link first."""
    entries: dict[str, dict[str, os.DirEntry[str]]] = {}
    found: dict[int, list[Path]] = {}
    for path in paths:
        folder, name = os.path.split(path)  # several times faster than `parent` and `name`
        try:
            if folder not in entries:  # one listing a folder instead of one look-up a shard
                with os.scandir(folder or ".") as listed:
                    entries[folder] = {entry.name: entry for entry in listed}
            entry = entries[folder].get(name)
            known = entry is not None and not entry.is_symlink()
            inode = entry.inode() if entry is not None and known else path.stat().st_ino
        except OSError:
            continue  # whoever opens the tar says so
        found.setdefault(inode, []).append(path)
    groups = [sorted(same, key=Path.is_symlink) for same in found.values() if len(same) > 1]
    # The numbers are those of one file system; two of them may use the same.
    alike = [[path for path in same if path.samefile(same[0])] for same in groups]
    return [same for same in alike if len(same) > 1]
