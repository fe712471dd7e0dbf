"""The images below a folder, and all else that is there: of shards to be packed, or to classify."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ssl_swin.data.pixels.formats import by_extension
from ssl_swin.data.shards.left_out import (
    AGAIN,
    DANGLING,
    HIDDEN,
    NO_FILE,
    NOT_AN_IMAGE,
    LeftOut,
    leave_out,
)
from ssl_swin.data.shards.names import is_hidden
from ssl_swin.errors import UserError

_MAY_NOT_BE_LISTED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


def is_image(name: str) -> bool:
    """Whether a file has an image's extension."""
    return name.rpartition(".")[2].lower() in by_extension()


def walk(
    source: Path, left_out: LeftOut, count: Callable[[int], None] | None = None
) -> Iterator[tuple[str, int | None]]:
    """Yield name and size of every image, and every folder, whose size is None; count all else.

    Links to folders come last, so that what they lead to is under its own name. `count` is told how
    many more files and folders were found.

    Raises:
        UserError: If a folder may not be listed that is not hidden.
    """
    folders, links, seen = deque([source]), deque[Path](), set()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        name = folder.relative_to(source).as_posix()
        place = os.path.realpath(folder)
        if place in seen:
            leave_out(left_out, AGAIN, name)
            continue
        seen.add(place)
        if folder != source and not is_hidden(name):
            yield name, None
        listed = _listed(folder, name, left_out)
        if count is not None:
            count(len(listed))
        for entry in listed:
            path = Path(entry.path)
            name = path.relative_to(source).as_posix()
            if os.path.isdir(path):
                (links if entry.is_symlink() else folders).append(path)
            elif why := _why_no_image(path, name):
                leave_out(left_out, why, name)
            else:
                yield name, path.stat().st_size


def _why_no_image(path: Path, name: str) -> str | None:
    if is_hidden(name):
        return HIDDEN
    if not os.path.isfile(path):
        return NO_FILE if os.path.exists(path) else DANGLING
    return None if is_image(name) else NOT_AN_IMAGE


def _listed(folder: Path, name: str, left_out: LeftOut) -> list[os.DirEntry[str]]:
    """Return what a folder holds, by name; a hidden one that may not be listed is left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if error.errno not in _MAY_NOT_BE_LISTED:
            raise
        if not is_hidden(name):
            raise UserError(
                f"{folder} cannot be listed ({error.strerror}), its images would be missing; "
                "let it be read, or move it away"
            ) from error
        leave_out(left_out, HIDDEN, name)
        return []
