"""Counts what is in some shards: samples, bytes, classes, and the sizes of images."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from ssl_swin.data.batches.labels import all_labels
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.array_files import is_array
from ssl_swin.data.pixels.bands import bands_of, size_of
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, UnreadableImage
from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.pixels.formats import has_several
from ssl_swin.data.shards.channel_names import channel_names_of
from ssl_swin.data.shards.classes import names_of
from ssl_swin.data.shards.index_file import CLS_LABEL, JSON_LABEL, NO_LABEL
from ssl_swin.data.shards.instead import folders_of_tars, table_of
from ssl_swin.data.shards.label_file import MISSING, UNUSABLE
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.names import has_tars, printable
from ssl_swin.data.shards.reader import ShardReader, some_images
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.data.shards.tar import names_in
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.stats import Measuring, measure_set

_MOST_CLASSES = 20
_NUM_LOOKED_AT = 50  # images whose range of numbers is looked at


def info(
    shards: str,
    sample: int = 1000,
    cache_dir: str | None = None,
    max_pixels: int = MAX_PIXELS,
    label_field: str = "label",
    labels: str | None = None,
    stats: Path | None = None,
    nodata: float | None = None,
    channel_axis: Literal["first", "last"] | None = None,
    num_workers: int = 8,
) -> None:
    """Print how many shards, samples, bytes and classes there are, and the images' sizes.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL. Of
            a folder of sets, as `shards create --split` makes it, each is shown.
        sample: Images whose headers are read for their sizes, spread evenly, 1 or more.
        cache_dir: Where the indexes of remote shards go; left out, the user's cache.
        max_pixels: Most pixels of an image, as `data.max_pixels`.
        label_field: Field of the .json member that holds the class, as `data.label_field`.
        labels: CSV or Parquet of keys and labels, for shards without labels, as `data.labels`; of
            many images it is not looked at.
        stats: File to write the mean and deviation of each channel to, for `data.stats`; of the
            sample, which may be all images.
        nodata: With --stats: the number that stands for none, as `data.nodata`.
        channel_axis: With --stats: where a .npy has its channels, as `data.channel_axis`.
        num_workers: With --stats: threads that read images, 1 or more.

    Raises:
        UserError: If `sample` or `num_workers` is below 1, or --stats is asked of several sets.
        ShardError: If a shard is missing or was changed.
    """
    if min(sample, num_workers) < 1:
        raise UserError(f"sample={sample}, num_workers={num_workers} show nothing; give 1 or more")
    sets = _sets_in(shards)
    if stats is not None and len(sets) > 1:
        raise UserError(f"--stats is of one set, and {shards} has {len(sets)}; give {sets[0]}")
    for one in sets:
        shard_set = open_shards(one, cache_dir=None if cache_dir is None else Path(cache_dir))
        if shard_set.num_samples <= shard_set.storage.num_cheap_reads:
            with suppress(ShardError):  # what is odd is counted below
                found, said = attach({one: shard_set}, Asked(field=label_field, file=labels))
                shard_set = found[one]
                print(*said, sep="\n", end="\n" * bool(said))
        _show(one, shard_set, sample, max_pixels, label_field)
        if stats is not None:
            how = Measuring(stats, nodata, channel_axis, max_pixels, num_workers)
            measure_set(one, shard_set, _places(shard_set, sample), how)


def _places(shard_set: ShardSet, sample: int) -> np.ndarray:
    """Return places spread evenly, or all."""
    num = shard_set.num_samples
    return np.linspace(0, max(num - 1, 0), min(sample, num)).astype(np.int64)


def _sets_in(shards: str) -> list[str]:
    """Return the folders of tars in a folder that holds none itself, or else what was given."""
    place = Path(shards)
    if not place.is_dir() or has_tars(place):
        return [shards]
    return [str(place / name) for name in folders_of_tars(place)] or [shards]


def _show(shards: str, shard_set: ShardSet, sample: int, max_pixels: int, label_field: str) -> None:
    counts, num = shard_set.counts, shard_set.num_samples
    places = _places(shard_set, sample)
    table = Table("what", "value", title=escape(shards))
    table.add_row("shards", str(len(counts)))
    each = f" ({counts.min():,} to {counts.max():,} a shard)" if len(counts) > 1 else ""
    table.add_row("samples", f"{num:,}{each}")
    table.add_row("bytes", f"{shard_set.bytes.sum():,}")
    table.add_row("fingerprint", shard_set.fingerprint()[:16])
    sizes = _sizes(shard_set, places, max_pixels) + _channels(shard_set)
    for name, value in sizes + _classes(shard_set, places, label_field):
        table.add_row(escape(name), escape(value))
    Console().print(table)
    reading, few = Reading(max_pixels=max_pixels), min(sample, _NUM_LOOKED_AT)
    if warning := depth_warning(some_images(shard_set, few), reading):
        print(warning)
    if not num and shard_set.storage.request_bytes is None:
        names = [name for path in shard_set.storage.paths for name in names_in(path)]
        print(f"no images; extensions found: {table_of(names) or 'none'}")
    for line in describe(shard_set.left_out, shards):
        print(line)
    _tell_unknown(shard_set, shards)


def _tell_unknown(shard_set: ShardSet, shards: str) -> None:
    num_unknown = sum(entry.left_out is None for entry in shard_set.storage.entries)
    if num_unknown:
        print(
            f"{num_unknown} shards were indexed by release 0.1, and what it left out is not known; "
            f"ssl-swin shards index {shards} finds out"
        )


def _sizes(shards: ShardSet, places: np.ndarray, max_pixels: int) -> list[tuple[str, str]]:
    """Return percentiles of widths and heights, read from the headers of the images."""
    reader, sizes, num_several = ShardReader(shards, whole=False), [], 0
    numbers: Counter[str] = Counter()
    for shard, row in _shown("reading sizes", shards, places):
        with suppress(UnreadableImage):
            data = reader.read(shard, row)
            sizes.append(size_of(data, max_pixels))
            num_several += has_several(data, max_pixels)
            numbers[_numbers(data, max_pixels)] += 1
    num, num_broken = len(places), len(places) - len(sizes)
    rows = [("images looked at", f"{num}, {num_broken} of them unreadable")]
    if num_several:
        rows.append(("files of several pictures", f"{num_several}, of which the first is taken"))
    rows += [("numbers", told) for told, _ in numbers.most_common(3) if told]
    if sizes:
        for name, values in zip(("width", "height"), np.array(sizes).T, strict=True):
            low, middle, high = np.percentile(values, (5, 50, 95))
            rows.append((f"{name}, 5/50/95 %", f"{low:.0f} / {middle:.0f} / {high:.0f} pixels"))
    return rows


def _channels(shards: ShardSet) -> list[tuple[str, str]]:
    """Return the names of the channels, if they have any."""
    names = channel_names_of(shards)
    return [] if names is None else [(f"{len(names)} channels", printable(", ".join(names)))]


def _numbers(data: bytes, max_pixels: int) -> str:
    """Say what numbers a file holds, if they are no colours of 8 bits."""
    if not is_array(data):
        return ""
    try:
        found = bands_of(data, max_pixels)
    except UnreadableImage as error:
        return str(error)
    if found is None:
        return ""
    bands, chans = found
    return f"{bands.dtype}, channels: {chans}; data.dtype={bands.dtype} takes them as they are"


def _classes(shards: ShardSet, places: np.ndarray, field: str) -> list[tuple[str, str]]:
    """Count each class: in all images if reading them is cheap, else in the sampled ones."""
    if shards.num_samples <= shards.storage.num_cheap_reads:
        places = np.arange(shards.num_samples)
        labels = all_labels(shards, field)  # (num_samples,)
    else:
        reader = ShardReader(shards, whole=False)
        pairs = _shown("reading labels", shards, places)
        labels = np.array([_label(reader, *pair, field) for pair in pairs], np.int64)
    rows = np.stack(shards.locate(places), axis=1).tolist()
    kinds = Counter(int(shards.storage.rows(shard)[row]["label_kind"]) for shard, row in rows)
    text = f"{kinds[CLS_LABEL]} .cls, {kinds[JSON_LABEL]} .json, {kinds[NO_LABEL]} without"
    said = [("labels", text)]
    num_unusable = int((labels == UNUSABLE).sum())
    if num_unusable:
        which = f", or have none in the field {field!r} (label_field)" if kinds[JSON_LABEL] else ""
        said.append(("no class", f"{num_unusable} labels are no number{which}"))
    numbers, nums = np.unique(labels[labels >= 0], return_counts=True)
    names = names_of(shards) or ()
    if len(numbers):
        said.append(("classes", f"{len(numbers)}, numbered {numbers[0]} to {numbers[-1]}"))
    counts = dict(zip(numbers.tolist(), nums.tolist(), strict=True))
    known = sorted({*counts, *range(len(names))})
    for number in known[:_MOST_CLASSES]:
        name = f" {printable(names[number])}" if number < len(names) else ""
        said.append((f"  class {number}{name}", str(counts.get(number, 0))))
    if others := [counts.get(number, 0) for number in known[_MOST_CLASSES:]]:
        said.append((f"  and {len(others)} more", f"{min(others)} to {max(others)} each"))
    return said


def _label(reader: ShardReader, shard: int, row: int, field: str) -> int:
    """Return the class of one sample, or `MISSING` or `UNUSABLE`."""
    kind = int(reader.storage.rows(shard)[row]["label_kind"])
    try:
        return MISSING if kind == NO_LABEL else reader.label(shard, row, field)
    except ShardError:
        return UNUSABLE


def _shown(what: str, shards: ShardSet, places: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield shard and row of each place, with a bar in a terminal: from afar it takes long."""
    pairs, console = np.stack(shards.locate(places), axis=1).tolist(), Console(stderr=True)
    return track(pairs, what, console=console, transient=True, disable=not console.is_terminal)
