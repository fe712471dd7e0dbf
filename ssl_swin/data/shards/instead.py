"""What lies where shards were expected, and what to do: images, archives, folders of sets."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from ssl_swin.data.shards.folders import is_image
from ssl_swin.data.shards.names import SETS, has_tars, is_hidden, printable, usual_split
from ssl_swin.record.lives import is_known
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.typed import typed

_MOST_LOOKED_AT = 20_000  # files of a folder
_MOST_LISTED = 6

# How packed files are named and begin, what they are, and what makes a tar of one.
_PACKED = {
    (".tgz", ".tar.gz", ".gz"): (b"\x1f\x8b", "gzip", "gunzip"),
    (".tbz", ".tar.bz2", ".bz2"): (b"BZh", "bzip2", "bunzip2"),
    (".txz", ".tar.xz", ".xz"): (b"\xfd7zXZ\0", "xz", "unxz"),
    (".tzst", ".tar.zst", ".zst"): (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
}
_ZIP = b"PK\x03\x04"
_NUM_HEAD_BYTES = 8


def pack_commands(images: Path) -> str:
    """Return the two commands that lead from a folder of images to the config of a run."""
    name = images.resolve().name or "mine"
    shards = f"shards/{name}"
    split, _ = usual_split(images)
    create = typed("shards", "create", images, shards, "--split", split)
    return f"{create}; then: {typed('recipe', shards, '-o', 'my.yaml')}"


def run_instead(place: Path) -> str | None:
    """Say that a folder is that of a run, whose pictures are no images of a set; None if not."""
    if not is_known(RunFolder(place)):
        return None
    return "it is the folder of a run, which holds pictures of it and no set of images"


def what_is_there(place: Path) -> str | None:
    """Say what a folder holds in place of tars, or what a file is, and what to type.

    None if that is not known.
    """
    if place.is_file():
        with place.open("rb") as file:
            return what_it_is(place.name, file.read(_NUM_HEAD_BYTES), place)
    if not place.is_dir():
        return None
    if run := run_instead(place):
        return run
    sets = folders_of_tars(place)
    if sets:
        named = ", ".join(sets[:_MOST_LISTED])
        return f"its tars are in folders ({named}), which are sets; give {place / sets[0]}"
    names = [*islice(_files_in(place), _MOST_LOOKED_AT)]
    packed = next((name for name in names if _packed_kind(name, b"") or _is_zip(name, b"")), None)
    image = next((name for name in names if is_image(name)), None)
    if image is not None:
        return (
            f"it is a folder of images, such as {printable(image)!r}; pack them into shards: "
            f"{pack_commands(place)}"
        )
    if packed is not None:
        return what_it_is(packed, b"", place / packed)
    if not names:
        return "the folder is empty"
    return f"it holds neither tars nor images; extensions found: {table_of(names)}"


def what_it_is(name: str, head: bytes, place: Path | None = None) -> str | None:
    """Say what a file is that was taken for a tar, and how it becomes one; None if unknown.

    Args:
        name: Its name.
        head: Its first bytes, which count more than the name; or none.
        place: Where it is, for the command to type; None if it is far away.
    """
    file = shlex.quote(str(place or name))
    if found := _packed_kind(name, head):
        ends, kind, command = found
        if not name.endswith(ends):
            told = shlex.quote(f"{place or name}{ends[-1]}")
            file = f"mv {file} {told}; {command} {told}"
        else:
            file = f"{command} {file}"
        return (
            f"{printable(name)!r} is packed by {kind}, and images are read from anywhere in a tar: "
            f"unpack it ({file}), and give the tar"
        )
    if _is_zip(name, head):
        folder = Path(name).stem or "images"
        return (
            f"{printable(name)!r} is a zip archive: unpack it (unzip {file} -d {folder}), and if "
            f"it holds images, type: {pack_commands(Path(folder))}"
        )
    if is_image(name):
        where = Path(".") if place is None else place.parent
        return f"{printable(name)!r} is an image; shards of its folder: {pack_commands(where)}"
    return None


def table_of(names: Iterable[str]) -> str:
    """Count the extensions of some names: `mp 1,000, txt 3`."""
    counts = Counter(os.path.splitext(name)[1][1:].lower() or "(none)" for name in names)
    parts = [f"{printable(kind)} {num:,}" for kind, num in counts.most_common(_MOST_LISTED)]
    return ", ".join(parts) + (", ..." if len(counts) > _MOST_LISTED else "")


def _packed_kind(name: str, head: bytes) -> tuple[tuple[str, ...], str, str] | None:
    for ends, (magic, kind, command) in _PACKED.items():
        if head.startswith(magic) or (not head and name.lower().endswith(ends)):
            return ends, kind, command
    return None


def _is_zip(name: str, head: bytes) -> bool:
    return head.startswith(_ZIP) or (not head and name.lower().endswith(".zip"))


def _files_in(folder: Path) -> Iterable[str]:
    """Yield the files of a folder and those below it, as paths from there."""
    for place, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not is_hidden(name))
        for name in sorted(names):
            if not is_hidden(name):
                yield os.path.relpath(os.path.join(place, name), folder)


def folders_of_tars(folder: Path) -> list[str]:
    """Return the folders in a folder that hold tars, those to train on first."""
    found = [inside.name for inside in folder.iterdir() if has_tars(inside)]
    order = {name: place for place, name in enumerate(SETS)}
    return sorted(found, key=lambda name: (order.get(name.lower(), len(order)), name))
