"""What `shards create` warns of, and what it says at the end: what was packed, where, what next."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.shards.classes import alike
from ssl_swin.data.shards.left_out import NOT_AN_IMAGE, add_up
from ssl_swin.data.shards.manifest import Entry
from ssl_swin.data.shards.names import BY_FOLDER, printable
from ssl_swin.machine import as_text
from ssl_swin.shard_tools.assign import PackOptions
from ssl_swin.shard_tools.pack import reading_of
from ssl_swin.shard_tools.source import ImageFile, Source, kind_of
from ssl_swin.shard_tools.sources_list import SOURCES_NAME
from ssl_swin.typed import quoted, typed

_NUM_LOOKED_AT = 250  # files whose range of numbers is looked at
_MOST_NAMED = 20  # classes of the table
_WIDEST = 36  # characters of a class's name in it


def warnings_of(found: Source, source: Path, out: Path, options: PackOptions) -> list[str]:
    """Say what looks like a mistake in the classes, and what comes out nearly black."""
    said = [
        f"warning: the classes {one!r} and {other!r} may be one thing, spelled twice"
        for one, other in alike(found.classes)
    ]
    if found.nested:
        command = typed("shards", "create", source, out, "--split", BY_FOLDER)
        said.append(
            f"warning: {', '.join(found.nested)} hold folders, and are packed as classes; if they "
            f"are sets, with classes in them, empty {out} and type: {command}"
        )
    inside = {file.name.rpartition("/")[0] for file in found.files}
    if len(found.classes) == 1 and len(inside) > 1 and not any(f.listed for f in found.files):
        folder = quoted(source / found.classes[0])
        said.append(
            f"warning: the only class, {found.classes[0]!r}, holds folders; if these are the "
            f"classes, give {folder} as the source"
        )
    num, example = found.left_out.get(NOT_AN_IMAGE, (0, ""))
    if kind := kind_of(source / example) if num else None:
        said.append(
            f"warning: {num:,} files have no image's extension and are left out, but {example!r} "
            f"is {kind} all the same; give such files its extension"
        )
    depths = depth_warning(_some_files(source, found.files), reading_of(options))
    return said if depths is None else [*said, depths]


def _some_files(source: Path, files: Sequence[ImageFile]) -> Iterator[bytes]:
    """Read some files, spread evenly."""
    for file in files[:: ceil(len(files) / _NUM_LOOKED_AT)]:
        with suppress(OSError):  # packing will name it
            yield (source / file.name).read_bytes()


def summary(
    found: Source,
    sets: Mapping[str, Sequence[ImageFile]],
    entries: Mapping[str, Collection[Entry]],
    bad: Collection[str],
    places: tuple[Path, Path],
) -> list[str]:
    """Say what was packed and what was left out, where it is, and what to type next.

    Args:
        found: What the source holds.
        sets: The files of each set; the name of a set that is alone is empty.
        entries: Of each set, what is known of its shards.
        bad: Printable names of files that could not be read.
        places: The source, and the folder of the sets.
    """
    source, out = places
    num_images = {name: sum(entry.num_samples for entry in each) for name, each in entries.items()}
    total = sum(num_images.values())
    lines = [f"{total:,} images, {_num(len(found.classes), 'class', 'es') or 'no classes'}"]
    if found.classes:
        lines += ["", *_table(found.classes, sets, bad), ""]
    left_out = add_up(
        [found.left_out, *(one.left_out for each in entries.values() for one in each)]
    )
    if left_out:
        lines.append(f"left out of {source}:")
        width = max(len(f"{num:,}") for num, _ in left_out.values())
        for reason, (num, example) in left_out.items():
            lines.append(f"  {num:>{width},} {reason}, as {example!r}")
    for name, each in entries.items():
        groups = {file.group for file in sets[name]} - {None}
        share = f" ({num_images[name] / max(1, total):.1%})" if name else ""
        share += f" of {_num(len(groups), 'group')}" if name and groups else ""
        size = as_text(sum(entry.num_bytes for entry in each))
        shards = _num(len(each), "shard")
        lines.append(f"{out / name}: {num_images[name]:,} images{share} in {shards}, {size}")
    lines.append(f"{out / SOURCES_NAME}: which image is which file")
    return [*lines, f"next: {typed('recipe', out, '-o', 'my.yaml')}"]


def _num(num: int, what: str, more: str = "s") -> str:
    return f"{num:,} {what}{more if num > 1 else ''}" if num else ""


def _table(
    classes: Sequence[str], sets: Mapping[str, Sequence[ImageFile]], bad: Collection[str]
) -> list[str]:
    """Return how many images of each class are in each set; of many classes, of the first."""
    counts = {
        name: Counter(file.label for file in files if printable(file.name) not in bad)
        for name, files in sets.items()
    }
    heads = [*([*sets] if len(sets) > 1 else []), "images"]
    rows = []
    for number, name in enumerate(classes):
        nums = [count[number] for count in counts.values()]
        rows.append((name, [*(nums if len(nums) > 1 else []), sum(nums)]))
    few = rows[:_MOST_NAMED]
    names = [_shortened(name) for name, _ in few]
    width = max(len("class"), *map(len, names))
    lines = [f"  {'class':<{width}}" + "".join(f"{head:>9}" for head in heads)]
    for name, (_, nums) in zip(names, few, strict=True):
        lines.append(f"  {name:<{width}}" + "".join(f"{num:>9,}" for num in nums))
    if others := [nums[-1] for _, nums in rows[_MOST_NAMED:]]:
        lines.append(f"  and {len(others):,} more, of {min(others):,} to {max(others):,} images")
    for place, head in enumerate(heads):
        empty = [name for name, nums in rows if not nums[place]]
        if empty:
            where = "" if head == "images" else f" in {head}"
            more = f" and {len(empty) - _MOST_NAMED} more" if len(empty) > _MOST_NAMED else ""
            named = ", ".join(empty[:_MOST_NAMED])
            lines.append(f"  without an image{where}: {printable(named)}{more}")
    return lines


def _shortened(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 3]}..."
