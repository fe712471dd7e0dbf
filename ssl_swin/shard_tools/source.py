"""The images in a folder, their classes, and all that is left out of it."""

import errno
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
from ssl_swin.errors import ShardError, UserError

_MAY_NOT_BE_LISTED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)
_NAMES_OF_SETS = ("train", "training", "val", "valid", "validation", "test", "testing")


@dataclass(frozen=True)
class ImageFile:
    """One image file to pack."""

    name: str
    """Path within the source folder, with forward slashes."""
    num_bytes: int
    label: int | None
    group: str | None = None
    """What must stay in one set with it, such as a patient's images."""
    split: str | None = None
    """The set that it is in, where its folder or a list says so."""
    listed: bool = False
    """Whether a list names it."""


@dataclass(frozen=True)
class Source:
    """What a folder holds."""

    files: list[ImageFile]
    """Sorted by name."""
    classes: list[str]
    """Their names, of which the place is the number; none if no folder holds an image."""
    left_out: LeftOut
    nested: list[str]
    """Classes that hold folders and have the name of a set, such as train."""
    told: list[str] = field(default_factory=list)
    """Lines to say of it."""


def list_images(source: Path, classes: Sequence[str] | None = None) -> Source:
    """Find the images of a folder and their classes, which are its folders, empty ones too.

    What is hidden is left out, links are followed, and a folder counts once. The names in `classes`
    are the classes, in their order, if they are given.

    Raises:
        ShardError: If there are no images, some stand beside the class folders, or are in a folder
            that `classes` does not name.
        UserError: If a folder cannot be listed.
    """
    left_out: LeftOut = {}
    found, folders = [], set()
    for name, num_bytes in walk(source, left_out):
        if num_bytes is None:
            folders.add(name)
        else:
            found.append((name, num_bytes))
    if not found:
        kinds = ", ".join(sorted(by_extension()))
        raise ShardError(f"source={source} holds no image; give a folder with {kinds} files")
    found.sort()
    inside = [name.partition("/")[0] if "/" in name else None for name, _ in found]
    named = [] if set(inside) == {None} else sorted(name for name in folders if "/" not in name)
    if named and None in inside:
        raise ShardError(
            f"{inside.count(None)} images of source={source} stand beside class folders "
            f"({named[0]!r}), the first is {found[inside.index(None)][0]!r}; move them into a "
            "class, or all images into one folder"
        )
    names = named if classes is None else given_classes(classes, named, source)
    number = {None: None} | {name: place for place, name in enumerate(names)}
    files = [ImageFile(*each, number[kind]) for each, kind in zip(found, inside, strict=True)]
    nested = [
        name
        for name in named
        if name.lower() in _NAMES_OF_SETS and any(f.startswith(f"{name}/") for f in folders)
    ]
    return Source(files, names, left_out, nested)


def given_classes(classes: Sequence[str], folders: Sequence[str], source: Path) -> list[str]:
    """Return the classes that were given, if each folder is one of them."""
    if not folders:
        raise ShardError(
            f"source={source} has no class folders, and classes were given; leave classes out, or "
            "make a folder for each"
        )
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise ShardError(
            f"source={source} has folders that the given classes do not name: {unknown}; they are "
            f"{list(classes)}: rename the folders, or name them all"
        )
    return list(classes)


def walk(source: Path, left_out: LeftOut) -> Iterator[tuple[str, int | None]]:
    """Yield name and size of every image, and every folder, whose size is None; count all else.

    Links to folders come last, so that what they lead to is under its own name.
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
        hidden = is_hidden(name)
        if folder != source and not hidden:
            yield name, None
        try:
            for entry in _listed(folder):
                path = Path(entry.path)
                name = path.relative_to(source).as_posix()
                if os.path.isdir(path):
                    (links if entry.is_symlink() else folders).append(path)
                elif why := _why_no_image(path, name):
                    leave_out(left_out, why, name)
                else:
                    yield name, path.stat().st_size
        except OSError as error:
            if error.errno not in _MAY_NOT_BE_LISTED:
                raise
            if not hidden:
                raise UserError(
                    f"{folder} cannot be listed ({error.strerror}), its images would be missing; "
                    "let it be read, or move it out of the source"
                ) from error
            leave_out(left_out, HIDDEN, name)


def _why_no_image(path: Path, name: str) -> str | None:
    if is_hidden(name):
        return HIDDEN
    if not os.path.isfile(path):
        return NO_FILE if os.path.exists(path) else DANGLING
    return None if name.rpartition(".")[2].lower() in by_extension() else NOT_AN_IMAGE


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
