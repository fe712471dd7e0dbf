"""The sets of a source that has a folder for each: train, and val or test."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssl_swin.data.shards.left_out import NO_SET, add_up, leave_out
from ssl_swin.data.shards.names import TRAIN, is_hidden, set_of
from ssl_swin.errors import UserError, usable
from ssl_swin.shard_tools.source import Source, given_classes, list_images


def list_sets(
    source: Path, classes: Sequence[str] | None = None, unlabelled: bool = False
) -> Source:
    """Find the images of all sets of a source; the folders in the sets are the classes of all.

    Raises:
        UserError: If there is no folder of images to train on, two of one set, or none held out.
        ShardError: As `list_images`, of each folder.
    """
    with usable(f"source={source}"):
        names = sorted(os.listdir(source))
    folders: dict[str, str] = {}
    others = []
    for name in names:
        found = set_of(name)
        if found is None or not (source / name).is_dir():
            others += [] if is_hidden(name) else [name]
        elif found in folders:
            raise UserError(f"source={source} has {folders[found]} and {name}, which are one set")
        else:
            folders[found] = name
    if TRAIN not in folders or len(folders) < 2:
        raise UserError(
            f"source={source} has no folders train and val (or test) for split=folders; it has "
            f"{', '.join(map(repr, names[:5])) or 'nothing'}: give split=val=0.1, or rename them"
        )
    parts = {
        name: list_images(source / folder, None, unlabelled) for name, folder in folders.items()
    }
    known = sorted({name for part in parts.values() for name in part.classes})
    known = known if classes is None else given_classes(classes, known, source)
    left_out = add_up(part.left_out for part in parts.values())
    for name in others:
        leave_out(left_out, NO_SET, name)
    files = [
        replace(
            file,
            name=f"{folders[name]}/{file.name}",
            label=None if file.label is None else known.index(part.classes[file.label]),
            split=name,
        )
        for name, part in parts.items()
        for file in part.files
    ]
    return Source(sorted(files, key=lambda file: file.name), known, left_out, [])
