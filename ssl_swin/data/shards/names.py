"""Names: the tars that a pattern names, the keys of samples, and what sets are called.

Standard library only. The contract in words is in the top-level `data/README.md`.
"""

import glob
import os
import re
from contextlib import suppress
from pathlib import Path

from ssl_swin.errors import ShardError
from ssl_swin.shipped import or_shipped

# Folders in which programs keep thumbnails and what was deleted, beside those that are hidden.
_PROGRAMS_OWN = {
    *("@eadir", "#recycle", "__macosx", "$recycle.bin", "system volume information"),
    "lost+found",
}

TRAIN, VAL, TEST = "train", "val", "test"  # sets, and the folders of them that we write
# how people call a set -> what we call it
SETS = {
    **dict.fromkeys((TRAIN, "training"), TRAIN),
    **dict.fromkeys((VAL, "valid", "validation", "dev"), VAL),
    **dict.fromkeys((TEST, "testing"), TEST),
}
BY_FOLDER = "folders"  # of `shards create --split`: folders are sets
SINGLE, MULTI, NUMBERS = "single-label", "multi-label", "regression"  # what a label may be


def is_remote(pattern: str) -> bool:
    """Whether a pattern names shards by URL."""
    return "://" in pattern


def expand(pattern: str) -> list[Path]:
    """Find the tars that a local pattern names, in its order, none twice.

    Args:
        pattern: A folder (all its `*.tar`, sorted), a tar, a brace pattern
            (`train-{000000..000009}.tar`, `{a,b}`), or a glob (sorted).

    Raises:
        ShardError: If nothing is found, or a tar that the pattern names is not there.
    """
    # A name that exists is taken as it stands, whatever characters are in it.
    whole = or_shipped(os.path.expanduser(pattern))
    pieces = [whole] if os.path.exists(whole) else expand_braces(whole)
    listings: dict[str, set[str]] = {}  # one listing a folder instead of one look-up a shard
    found: list[Path] = []
    missing = []
    for piece in pieces:
        folder, name = os.path.split(piece)
        if name.endswith(".tar") and folder not in listings:
            listings[folder] = set()
            with suppress(FileNotFoundError, NotADirectoryError):
                listings[folder].update(os.listdir(folder or "."))
        if name in listings.get(folder, ()) or os.path.isfile(piece):
            found.append(Path(piece))
        elif glob.has_magic(piece) and not os.path.isdir(piece):
            found += [Path(match) for match in sorted(glob.glob(piece))]
        elif os.path.isdir(piece):
            # By name: paths compare ten times as slowly, which counts for 100,000 shards.
            tars = (path for path in Path(piece).iterdir() if path.name.endswith(".tar"))
            found += sorted(tars, key=lambda path: path.name)
        else:
            missing.append(piece)
    if missing and len(pieces) > 1:
        raise ShardError(
            f"{len(missing)} of the {len(pieces)} shards in {pattern} do not exist, "
            f"the first is {Path(missing[0]).absolute()}; copy them there, or leave them out of "
            "the pattern"
        )
    if not found:
        raise ShardError(
            f"shards={pattern} matches no tar (looked in {Path(whole).absolute()}); give a folder "
            "of *.tar files, one tar, a pattern like train-{000000..000009}.tar, or a glob"
        )
    return list(dict.fromkeys(found))


def expand_braces(pattern: str) -> list[str]:
    """Spell out `{000..009}` and `{a,b}`, the leftmost slowest; other braces stay as they are."""
    for group in re.finditer(r"\{([^{}]*)\}", pattern):
        body = group.group(1)
        bounds = re.fullmatch(r"(\d+)\.\.(\d+)", body)
        if bounds:
            first, last = bounds.groups()
            padded = first.startswith("0") or last.startswith("0")
            width = max(len(first), len(last)) if padded else 0
            step = 1 if int(first) <= int(last) else -1
            numbers = range(int(first), int(last) + step, step)
            choices = [f"{number:0{width}d}" for number in numbers]
        elif "," in body:
            choices = body.split(",")
        else:
            continue
        head, tails = pattern[: group.start()], expand_braces(pattern[group.end() :])
        return [head + choice + tail for choice in choices for tail in tails]
    return [pattern]


def has_tars(folder: Path) -> bool:
    """Whether tars lie in a folder."""
    return folder.is_dir() and any(name.endswith(".tar") for name in os.listdir(folder))


def set_of(name: str) -> str | None:
    """Return train, val or test for the name of a set as people write it, else None."""
    return SETS.get(name.strip().lower())


def usual_split(images: Path) -> tuple[str, str]:
    """Return how `shards create --split` should part a folder, and which set is held out then.

    It is parted as its folders are, if they are sets.
    """
    found = {set_of(one.name) for one in images.glob("*/")}
    if TRAIN not in found or found.isdisjoint((VAL, TEST)):
        return f"{VAL}=0.1", VAL
    return BY_FOLDER, VAL if VAL in found else TEST


def sample_key(name: str) -> tuple[str, str]:
    """Split a member's name as WebDataset does, at the first dot after the last slash.

    Returns:
        Key with its folders, and lower-case extension: `("a.b/x", "seg.png")` for `a.b/x.seg.PNG`.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def is_hidden(name: str) -> bool:
    """Whether a path's last part, or a folder on the way to it, is hidden or a program's own."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.lower() in _PROGRAMS_OWN for part in parts)


def printable(text: str) -> str:
    """Put a text on one line and escape the lone surrogates of names that are not UTF-8."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
