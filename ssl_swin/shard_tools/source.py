"""The images in a folder, their classes, and all that is left out of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ssl_swin.data.counting import counting
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import by_extension, open_image
from ssl_swin.data.shards.folders import walk
from ssl_swin.data.shards.instead import run_instead, table_of
from ssl_swin.data.shards.left_out import LeftOut
from ssl_swin.data.shards.names import set_of
from ssl_swin.errors import ShardError, UserError
from ssl_swin.typed import typed


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


def list_images(
    source: Path, classes: Sequence[str] | None = None, unlabelled: bool = False
) -> Source:
    """Find the images of a folder and their classes, which are its folders, empty ones too.

    What is hidden is left out, links are followed, and a folder counts once. The names in `classes`
    are the classes, in their order, if they are given. If `unlabelled`, there are none.

    Raises:
        ShardError: If there are no images, some stand beside the class folders, or are in a folder
            that `classes` does not name.
        UserError: If a folder cannot be listed.
    """
    if not os.path.lexists(source):
        raise UserError(
            f"source={source} is not there ({source.absolute()}); give a folder of images"
        )
    if run := run_instead(source):
        raise ShardError(f"source={source}: {run}; give a folder of images")
    left_out: LeftOut = {}
    found, folders = [], set()
    for name, num_bytes in files_and_folders(source, left_out):
        if num_bytes is None:
            folders.add(name)
        else:
            found.append((name, num_bytes))
    if not found:
        raise _no_images(source)
    found.sort()
    if unlabelled:
        return Source([ImageFile(*each, None) for each in found], [], left_out, [])
    inside = [name.partition("/")[0] if "/" in name else None for name, _ in found]
    named = [] if set(inside) == {None} else sorted(name for name in folders if "/" not in name)
    if named and None in inside:
        raise ShardError(
            f"{inside.count(None)} images of source={source} stand beside class folders "
            f"({named[0]!r}), the first is {found[inside.index(None)][0]!r}; move them into a "
            "class, or all images into one folder, or pack them without labels: --unlabelled"
        )
    names = named if classes is None else given_classes(classes, named, source)
    number = {None: None} | {name: place for place, name in enumerate(names)}
    files = [ImageFile(*each, number[kind]) for each, kind in zip(found, inside, strict=True)]
    nested = [
        name for name in named if set_of(name) and any(f.startswith(f"{name}/") for f in folders)
    ]
    return Source(files, names, left_out, nested)


def files_and_folders(source: Path, left_out: LeftOut) -> Iterator[tuple[str, int | None]]:
    """Do what `walk` does, and show how far it is."""
    with counting("finding images", None) as count:
        yield from walk(source, left_out, count)


def _no_images(source: Path) -> ShardError:
    kinds = ", ".join(sorted(by_extension()))
    names = [name for _, _, inside in os.walk(source) for name in inside]
    table = table_of(names) or "none"
    hint = ""
    if any(name.endswith(".tar") for name in names):
        hint = f"; tars are shards already: {typed('recipe', source, '-o', 'my.yaml')}"
    elif kind := kind_of(next((p for p in source.rglob("*") if p.is_file()), source)):
        hint = f"; some files are {kind} all the same: give them its extension"
    return ShardError(
        f"source={source} holds no image; give a folder with {kinds} files (extensions found: "
        f"{table}){hint}"
    )


def kind_of(path: Path) -> str | None:
    """Return the format of an image file that has not its extension; None if it is no image."""
    with suppress(OSError, UnreadableImage):
        return open_image(path.read_bytes()).format
    return None


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
