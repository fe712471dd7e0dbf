"""Selects what is packed: which images of a source, as which classes, in which sets."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards.classes import CLASSES_NAME, Names, names_of
from ssl_swin.data.shards.names import BY_FOLDER
from ssl_swin.errors import UserError, usable
from ssl_swin.shard_tools.duplicates import without_duplicates
from ssl_swin.shard_tools.image_list import list_rows
from ssl_swin.shard_tools.set_folders import list_sets
from ssl_swin.shard_tools.source import Source, list_images
from ssl_swin.shard_tools.split import Sets, by_name, deal, parse_shares


@dataclass(frozen=True)
class Selection:
    """What of the images is packed as what."""

    csv: Path | None = None
    """List of the images instead of folders: a CSV, or JSON lines, with a column path, and perhaps
    label (names or numbers), and group."""
    path_column: str | None = None
    """The list's column of paths, in the source or from the list's folder; an extension that lacks
    is found. Left out, path or one that is called alike, such as file_name."""
    label_column: str | None = None
    """The list's column of labels. Left out, label or one that is called alike, such as class;
    without one, the folders of the source are the classes."""
    group_column: str | None = None
    """The list's column that says what stays in one set, such as patient or camera. Left out,
    group, if there is one."""
    classes: Path | None = None
    """File of the classes' names, one a line, in the order of their numbers."""
    classes_from: str | None = None
    """Shards whose classes these are, too: those to train on, for held-out images."""
    unlabelled: bool = False
    """Pack without labels, as for pretraining alone: folders are no classes."""
    split: str | None = None
    """Shares to hold out, val=0.1 or val=0.1,test=0.1, by the seed and of every class alike; or
    `folders`, if the source has the folders train and val or test; or the column of the list that
    says train, val or test. The shards are in folders of these names in `out` then."""
    dedup: Literal["exact"] | None = None
    """`exact` leaves out what is byte for byte the same as another image."""

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes_from is not None:
            raise UserError("classes and classes_from both name the classes; give one of the two")
        named = (self.classes, self.classes_from, self.label_column)
        if self.unlabelled and any(one is not None for one in named):
            raise UserError("unlabelled packs no classes; leave it out, or what names them")
        if self.csv is None:
            for one in fields(self):
                value = getattr(self, one.name)
                if one.name.endswith("_column") and value is not None:
                    raise UserError(f"{one.name}={value} is a column of a list; give --csv FILE")
        if self.deals or (self.split is not None and self.csv is None and not self.by_folder):
            parse_shares(str(self.split))
        if self.by_folder and self.csv is not None:
            raise UserError(
                f"split={BY_FOLDER} takes sets and classes from folders, and csv from a list; "
                "name the column of the sets as split, or leave csv out"
            )

    @property
    def deals(self) -> bool:
        """Whether images are held out by shares."""
        return self.split is not None and "=" in self.split

    @property
    def by_folder(self) -> bool:
        """Whether folders are sets."""
        return self.split == BY_FOLDER


def select(source: Path, selection: Selection, seed: int) -> tuple[Source, Sets]:
    """Find the images of a source, and deal them to their sets; a set alone has no name.

    Raises:
        UserError, ShardError: As the functions that list and deal images, or if the classes cannot
            be read.
    """
    names = _names(selection)
    if selection.csv is not None:
        asked = {what: getattr(selection, f"{what}_column") for what in ("path", "label", "group")}
        asked["split"] = None if selection.deals else selection.split
        found = list_rows(source, selection.csv, asked, names)
        if selection.unlabelled:
            files = [replace(file, label=None) for file in found.files]
            found = replace(found, files=files, classes=[])
    else:
        list_all = list_sets if selection.by_folder else list_images
        found = list_all(source, names, selection.unlabelled)
    files = found.files if selection.dedup is None else without_duplicates(source, found)
    if selection.split is None:
        return found, {"": files}
    if selection.deals:
        return found, deal(files, parse_shares(selection.split), seed)
    return found, by_name(files, found.left_out)


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
