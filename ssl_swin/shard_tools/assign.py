"""Decides which image file goes into which shard at which place, before anything is packed.

What decides the assignment is written into the folder of the shards (`plan.json`). So a stopped run
goes on with the same assignment, and other files or options are refused there.
"""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_swin.data.pixels.channels import CHANNELS_NAME, Names, unusable_names
from ssl_swin.data.pixels.decode import DEFAULT_WHITE
from ssl_swin.data.shards.classes import CLASSES_NAME, parse_names
from ssl_swin.errors import UserError
from ssl_swin.files import replacing
from ssl_swin.record.lines import read_json
from ssl_swin.shard_tools.source import ImageFile

ASSIGNMENT_NAME = "plan.json"


@dataclass(frozen=True)
class PackOptions:
    """What decides the bytes of the shards."""

    prefix: str = "train"
    """Start of the shards' names, as in train-000000.tar; letters, digits, - and _."""
    samples_per_shard: int | None = None
    """Images a shard holds at most, 1 or more; left out, no limit."""
    bytes_per_shard: int | None = None
    """Bytes of source files a shard holds at most (one image at least), 1 or more; left out, no
    limit, or 268435456 (256 MiB) if samples_per_shard is left out too."""
    short_side: int | None = None
    """Pixels; images with a longer short side are scaled down to it and encoded again, PNG and
    TIFF as PNG, others as JPEG. Left out, no image is scaled."""
    quality: int | None = None
    """JPEG quality, 1 to 100, in which to encode every image again. Left out, files are copied
    byte for byte, and JPEGs that short_side scales down get 90."""
    seed: int = 0
    """Seed of the shuffle, 0 or more."""
    black: float | None = None
    """Of grey files of more than 8 bits: the number that becomes black where they are encoded again
    with 8; left out, 0. Files that are copied keep their numbers."""
    white: float | None = None
    """Of the same: the number that becomes white; left out, 65535, and files of fractions count as
    unreadable."""
    max_pixels: int | None = None
    """Most pixels of an image, 1 or more; a larger one counts as unreadable. Left out, 178956970,
    which is Pillow's limit."""
    channel_names: str | None = None
    """Names of the channels of images that are taken as they are, in their order, such as
    blue,green,red,nir; channels.json beside the shards keeps them."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.prefix):
            raise UserError(
                f"prefix={self.prefix!r} names the shards; use letters, digits, - and _ only"
            )
        for name in ("samples_per_shard", "bytes_per_shard", "short_side", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value} packs nothing; give 1 or more, or leave it out")
        if self.channels and (why := unusable_names(self.channels)):
            raise UserError(
                f"channel_names={self.channel_names}: {why}; give names with commas between them"
            )
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UserError(f"quality={self.quality} is no JPEG quality; give 1 to 100")
        black, white = self.black or 0.0, DEFAULT_WHITE if self.white is None else self.white
        if black >= white:
            raise UserError(f"black={black:g} must be less than white={white:g}")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} is negative; give 0 or more")

    @property
    def channels(self) -> Names | None:
        """The names of the channels, each for itself."""
        given = self.channel_names
        return None if given is None else tuple(map(str.strip, given.split(",")))


KeyedFile = tuple[str, ImageFile]  # with the key it gets in its shard


def assign(files: Sequence[ImageFile], options: PackOptions) -> dict[str, list[KeyedFile]]:
    """Shuffle files that are sorted by name, and cut them into shards, each under its name."""
    # Sorted by hash: unlike a generator's stream, the same under every version of everything.
    order = sorted(
        range(len(files)),
        key=lambda place: hashlib.sha256(f"{options.seed} {place}".encode()).digest(),
    )
    shards: list[list[KeyedFile]] = []
    num_bytes, most_bytes = 0, options.bytes_per_shard or math.inf
    for place, file in enumerate(files[chosen] for chosen in order):
        full = shards and len(shards[-1]) == options.samples_per_shard
        if full or not shards or num_bytes + file.num_bytes > most_bytes:
            shards.append([])
            num_bytes = 0
        shards[-1].append((_key(place, file.name), file))
        num_bytes += file.num_bytes
    return {f"{options.prefix}-{place:06d}.tar": part for place, part in enumerate(shards)}


def _key(place: int, name: str) -> str:
    """Return a key that its number makes unique; the rest is for people: ASCII, without dots."""
    stem = os.path.splitext(os.path.basename(name))[0]
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9-]+", "_", ascii_stem).strip("_")[:40]
    return f"{place:09d}_{safe}" if safe else f"{place:09d}"


def keep_assignment(
    folder: Path,
    options: PackOptions | None,
    files: Sequence[ImageFile],
    classes: Sequence[str],
    chosen: dict[str, Any],
) -> None:
    """Write the assignment and the classes into a folder, or compare with what a run wrote before.

    Args:
        folder: That of a set, or of all sets of a split, which has no options and no classes.
        options: What decides the bytes of its shards.
        files: What is packed below the folder.
        classes: Their names, by number.
        chosen: What else decides which files those are.

    Raises:
        UserError: If the folder holds another assignment, other classes, or shards without one.
    """
    known = folder / CLASSES_NAME
    assignment = chosen | ({} if options is None else asdict(options)) | _listing(files)
    if (folder / ASSIGNMENT_NAME).exists():
        _compare(folder, assignment)
        begun = parse_names(known.read_bytes(), str(known)) if known.exists() else ()
        if begun != tuple(classes):
            raise UserError(
                f"out={folder} was begun with the classes {list(begun)}, now they are "
                f"{list(classes)}; repeat the command as it was, or give another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    strangers = sorted(other.name for other in folder.glob("*.tar"))
    if strangers:
        raise UserError(
            f"out={folder} holds {len(strangers)} tars of another origin ({strangers[0]}); "
            "give a new folder"
        )
    if classes:
        with replacing(known) as file:
            file.write(json.dumps(classes, indent=1).encode() + b"\n")
    if options is not None and options.channels is not None:
        with replacing(folder / CHANNELS_NAME) as file:
            file.write(json.dumps(options.channels, ensure_ascii=False).encode() + b"\n")
    with replacing(folder / ASSIGNMENT_NAME) as file:
        optional = {*chosen, "channel_names"}
        written = {k: v for k, v in assignment.items() if k not in optional or v is not None}
        file.write(json.dumps({"format": 1} | written, indent=1).encode() + b"\n")


def _listing(files: Sequence[ImageFile]) -> dict[str, int | str]:
    """Sum up names and sizes, and what only a list says of a file."""
    lines = "".join(
        f"{file.name}\0{file.num_bytes}"
        + (f"\0{file.label}\0{file.group}\0{file.split}\n" if file.listed else "\n")
        for file in files
    )
    listing = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    return {"num_files": len(files), "listing": listing}


def _compare(folder: Path, assignment: dict[str, Any]) -> None:
    """Refuse an assignment that is not what a folder was begun with."""
    kept = read_json(folder / ASSIGNMENT_NAME)
    for name, value in ({"format": 1} | assignment).items():
        if kept.get(name) == value:
            continue
        how = f"{name}={kept.get(name)!r}, now it is {value!r}"
        if name == "listing":
            how = "other files: one was added, removed, renamed, labelled anew or changed its size"
        elif name == "num_files":
            how = f"{kept.get(name):,} files, now there are {value:,}"
        raise UserError(
            f"out={folder} was begun with {how}; repeat the command as it was, or give another "
            "folder"
        )
