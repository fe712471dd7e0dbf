"""Selects what is packed: which images of a source, as which classes, in which sets."""

from dataclasses import dataclass
from pathlib import Path

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.classes import CLASSES_NAME, Names, names_of
from ssl_swin.errors import UserError, usable
from ssl_swin.shard_tools.source import Source, list_images
from ssl_swin.shard_tools.split import Sets, deal, parse_shares


@dataclass(frozen=True)
class Selection:
    """What of the images is packed as what."""

    classes: Path | None = None
    """File of the classes' names, one a line, in the order of their numbers."""
    classes_from: str | None = None
    """Shards whose classes these are, too: those to train on, for held-out images."""
    split: str | None = None
    """Shares to hold out, val=0.1 or val=0.1,test=0.1, by the seed and of every class alike; the
    shards are in the folders train, val and test of `out` then."""

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes_from is not None:
            raise UserError("classes and classes_from both name the classes; give one of the two")
        if self.split is not None:
            parse_shares(self.split)


def select(source: Path, selection: Selection, seed: int) -> tuple[Source, Sets]:
    """Find the images of a source, and deal them to their sets; a set alone has no name.

    Raises:
        UserError, ShardError: As `list_images` and `deal`, or if the classes cannot be read.
    """
    found = list_images(source, _names(selection))
    if selection.split is None:
        return found, {"": found.files}
    return found, deal(found.files, parse_shares(selection.split), seed)


def _names(selection: Selection) -> Names | None:
    """Return the classes that are given by a file or by other shards, if they are."""
    file, shards = selection.classes, selection.classes_from
    if shards is not None:
        names = names_of(open_shards(shards))
        if names is None:
            raise UserError(f"classes_from={shards} has no {CLASSES_NAME}; give a file as classes")
        return names
    if file is None:
        return None
    with usable(f"classes={file}"):
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    lines = map(str.strip, text.splitlines())
    names = tuple(line for line in lines if line)
    if not names or len(set(names)) < len(names):
        raise UserError(f"classes={file} must hold one name a line, each of them once")
    return names
