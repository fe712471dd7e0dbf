"""Counts what is in some shards: samples, bytes, classes, and the sizes of images."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, UnreadableImage
from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.pixels.formats import has_several, open_image
from ssl_swin.data.shards.index_file import CLS_LABEL, JSON_LABEL, NO_LABEL
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.reader import ShardReader, some_images
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError

_MANY_CLASSES = 20
_NUM_LOOKED_AT = 50  # images whose range of numbers is looked at


def info(
    shards: str, sample: int = 1000, cache_dir: str | None = None, max_pixels: int = MAX_PIXELS
) -> None:
    """Print how many shards, samples, bytes and classes there are, and the images' sizes.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL.
        sample: Images whose headers are read for their sizes, spread evenly, 1 or more.
        cache_dir: Where the indexes of remote shards go; left out, the user's cache.
        max_pixels: Most pixels of an image, as `data.max_pixels`.

    Raises:
        UserError: If `sample` is below 1.
        ShardError: If a shard is missing or was changed, or a label is no class number.
    """
    if sample < 1:
        raise UserError(f"sample={sample} shows nothing; give 1 or more")
    shard_set = open_shards(shards, cache_dir=None if cache_dir is None else Path(cache_dir))
    counts, num = shard_set.counts, shard_set.num_samples
    places = np.linspace(0, max(num - 1, 0), min(sample, num)).astype(np.int64)
    table = Table("what", "value", title=shards)
    table.add_row("shards", str(len(counts)))
    table.add_row("samples", f"{num} ({counts.min()} to {counts.max()} a shard)")
    table.add_row("bytes", f"{shard_set.bytes.sum():,}")
    table.add_row("fingerprint", shard_set.fingerprint()[:16])
    for name, value in _sizes(shard_set, places, max_pixels) + _classes(shard_set, places):
        table.add_row(name, value)
    Console().print(table)
    reading, few = Reading(max_pixels=max_pixels), min(sample, _NUM_LOOKED_AT)
    if warning := depth_warning(some_images(shard_set, few), reading):
        print(warning)
    for line in describe(shard_set.left_out, shards):
        print(line)
    num_unknown = sum(entry.left_out is None for entry in shard_set.storage.entries)
    if num_unknown:
        print(
            f"{num_unknown} shards were indexed by release 0.1, and what it left out is not known; "
            f"ssl-swin shards index {shards} finds out"
        )


def _sizes(shards: ShardSet, places: np.ndarray, max_pixels: int) -> list[tuple[str, str]]:
    """Return percentiles of widths and heights, read from the headers of the images."""
    reader, sizes, num_several = ShardReader(shards, whole=False), [], 0
    for shard, row in _shown("reading sizes", shards, places):
        with suppress(UnreadableImage):
            data = reader.read(shard, row)
            sizes.append(open_image(data, max_pixels).size)
            num_several += has_several(data, max_pixels)
    num, num_broken = len(places), len(places) - len(sizes)
    rows = [("images looked at", f"{num}, {num_broken} of them unreadable")]
    if num_several:
        rows.append(("files of several pictures", f"{num_several}, of which the first is taken"))
    if sizes:
        for name, values in zip(("width", "height"), np.array(sizes).T, strict=True):
            low, middle, high = np.percentile(values, (5, 50, 95))
            rows.append((f"{name}, 5/50/95 %", f"{low:.0f} / {middle:.0f} / {high:.0f} pixels"))
    return rows


def _classes(shards: ShardSet, places: np.ndarray) -> list[tuple[str, str]]:
    """Count each class: in all images if reading them is cheap, else in the sampled ones."""
    if shards.num_samples <= shards.storage.num_cheap_reads:
        places = np.arange(shards.num_samples)
    reader = ShardReader(shards, whole=False)
    classes, kinds = Counter[int](), Counter[int]()
    for shard, row in _shown("reading labels", shards, places):
        kind = int(shards.storage.rows(shard)[row]["label_kind"])
        kinds[kind] += 1
        if kind == CLS_LABEL:
            classes[reader.label(shard, row)] += 1
    text = f"{kinds[CLS_LABEL]} .cls, {kinds[JSON_LABEL]} .json, {kinds[NO_LABEL]} without"
    rows = [("labels", text)]
    if classes:
        rows.append(("classes", f"{len(classes)}, numbered {min(classes)} to {max(classes)}"))
    if len(classes) <= _MANY_CLASSES:
        rows += [(f"  class {number}", str(count)) for number, count in sorted(classes.items())]
    return rows


def _shown(what: str, shards: ShardSet, places: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield shard and row of each place, with a bar in a terminal: from afar it takes long."""
    pairs, console = np.stack(shards.locate(places), axis=1).tolist(), Console(stderr=True)
    return track(pairs, what, console=console, transient=True, disable=not console.is_terminal)
