"""Images that are there twice, byte for byte: all but one of each are left out."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ssl_swin.data.counting import counting
from ssl_swin.data.shards.left_out import DUPLICATE, LeftOut, leave_out
from ssl_swin.shard_tools.source import ImageFile, Source
from ssl_swin.shard_tools.split import SETS

_NUM_THREADS = 8
_NUM_NAMED = 3


def without_duplicates(source: Path, found: Source) -> list[ImageFile]:
    """Return the files without those that have the same bytes as another one, sorted by name.

    Of the same files the one that is held out stays, test before val before train, or else the
    first by name. `found` counts the others, and says which are of another class, group or set.
    """
    alike: dict[int, list[ImageFile]] = {}
    for file in found.files:
        alike.setdefault(file.num_bytes, []).append(file)
    asked = [file for same in alike.values() if len(same) > 1 for file in same]
    with ThreadPoolExecutor(_NUM_THREADS) as pool, counting("hashing", len(asked)) as count:
        sums = []
        for start in range(0, len(asked), 1024):  # so that a signal is heard soon
            part = asked[start : start + 1024]
            for digest in pool.map(lambda file: _sum(source / file.name), part):
                sums.append(digest)
                count(1)
    groups: dict[bytes, list[ImageFile]] = {}
    for file, digest in zip(asked, sums, strict=True):
        if digest is not None:
            groups.setdefault(digest, []).append(file)
    left: set[str] = set()
    pairs: list[tuple[ImageFile, ImageFile]] = []
    for same in groups.values():
        kept, *others = sorted(same, key=_rank)
        pairs += [(kept, other) for other in others]
        left.update(other.name for other in others)
    _tell(found, pairs)
    return [file for file in found.files if file.name not in left]


def _sum(path: Path) -> bytes | None:
    with suppress(OSError), path.open("rb") as file:  # packing will name it
        return hashlib.file_digest(file, "sha256").digest()
    return None


def _rank(file: ImageFile) -> tuple[int, str]:
    return (-SETS.index(file.split) if file.split in SETS else 0), file.name


def _tell(found: Source, pairs: Sequence[tuple[ImageFile, ImageFile]]) -> None:
    """Count what is left out, and say what of it contradicts what is kept."""
    left_out: LeftOut = found.left_out
    for _, other in pairs:
        leave_out(left_out, DUPLICATE, other.name)
    for what in ("class", "group", "set"):
        field = {"class": "label", "group": "group", "set": "split"}[what]
        torn = [pair for pair in pairs if getattr(pair[0], field) != getattr(pair[1], field)]
        if torn:
            named = ", ".join(f"{a.name!r} as {b.name!r}" for a, b in torn[:_NUM_NAMED])
            more = ", ..." if len(torn) > _NUM_NAMED else ""
            found.told.append(
                f"warning: {len(torn):,} images are there again in another {what}, of which one "
                f"is kept: {named}{more}"
            )
