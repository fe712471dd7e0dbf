"""Looks into shards: is every image readable, and what is in them."""

from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.pixels.formats import decode, open_image
from ssl_swin.data.shards.layout import CLS_LABEL, JSON_LABEL, NO_LABEL
from ssl_swin.data.shards.shard_set import ShardReader, ShardSet
from ssl_swin.errors import RemoteError, ShardError
from ssl_swin.shard_tools.parallel import each

_MANY_SAMPLES = 100_000  # above this, labels are counted among the sampled images only
_MANY_CLASSES = 20


def verify(shards: str, num_workers: int = 4, cache_dir: str | None = None) -> None:
    """Decode every image of the shards and print what is broken, by shard and key.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL.
        num_workers: Processes, each with one shard at a time, 1 or more.
        cache_dir: Where remote shards and indexes go; left out, the user's cache.

    Raises:
        ValueError: If `num_workers` is below 1.
        ShardError: If an image or a .cls label is broken, or a shard is missing or was changed.
    """
    shard_set = ShardSet.open(shards, cache_dir=None if cache_dir is None else Path(cache_dir))
    jobs = [(shard_set, shard) for shard in range(len(shard_set.paths))]
    num_broken = 0
    with Progress() as progress:
        task = progress.add_task("verifying shards", total=len(jobs))
        for (_, shard), broken in each(broken_samples, jobs, num_workers):
            for key, why in broken:
                progress.print(
                    f"{shard_set.where(shard)}: {key}: {why}", markup=False, soft_wrap=True
                )
            num_broken += len(broken)
            progress.advance(task)
    if num_broken:
        raise ShardError(
            f"{num_broken} of {shard_set.num_samples} samples in {shards} are broken, as named "
            "above; pack them again, or let training replace them"
        )
    print(f"{shard_set.num_samples} samples in {len(jobs)} shards can be read")


def broken_samples(job: tuple[ShardSet, int]) -> list[tuple[str, str]]:
    """Decode all images of one shard.

    Args:
        job: The set, and the place of the shard in it.

    Returns:
        Key and reason of each broken sample, in tar order; a damaged tar counts as one.

    Raises:
        RemoteError: If a remote shard cannot be had.
    """
    shards, shard = job
    reader = ShardReader(shards)
    broken = []
    try:
        for row, entry in enumerate(shards.rows(shard)):
            try:
                decode(reader.read(shard, row), in_chans=3)
                if entry["label_kind"] == CLS_LABEL:
                    reader.label(shard, row)
            except RemoteError:
                raise
            except (UnreadableImage, ShardError) as error:
                broken.append((_printable(reader.key(shard, row)), str(error)))
    except RemoteError:  # the network's fault, not the shard's
        raise
    except ShardError as error:  # the shard itself: changed, or its index is gone
        broken.append(("(whole shard)", str(error)))
    finally:
        reader.close()
    return broken


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def info(shards: str, sample: int = 1000, cache_dir: str | None = None) -> None:
    """Print how many shards, samples, bytes and classes there are, and the images' sizes.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL.
        sample: Images whose headers are read for their sizes, spread evenly, 1 or more.
        cache_dir: Where the indexes of remote shards go; left out, the user's cache.

    Raises:
        ValueError: If `sample` is below 1.
        ShardError: If a shard is missing or was changed, or a label is no class number.
    """
    if sample < 1:
        raise ValueError(f"sample={sample} shows nothing; give 1 or more")
    shard_set = ShardSet.open(shards, cache_dir=None if cache_dir is None else Path(cache_dir))
    counts, num = shard_set.counts, shard_set.num_samples
    places = np.linspace(0, max(num - 1, 0), min(sample, num)).astype(np.int64)
    table = Table("what", "value", title=shards)
    table.add_row("shards", str(len(counts)))
    table.add_row("samples", f"{num} ({counts.min()} to {counts.max()} a shard)")
    table.add_row("bytes", f"{shard_set.bytes.sum():,}")
    table.add_row("fingerprint", shard_set.fingerprint()[:16])
    for name, value in _sizes(shard_set, places) + _classes(shard_set, places):
        table.add_row(name, value)
    Console().print(table)


def _sizes(shards: ShardSet, places: np.ndarray) -> list[tuple[str, str]]:
    """Percentiles of widths and heights, read from the images' own headers."""
    reader, sizes, num_broken = ShardReader(shards, whole=False), [], 0
    for shard, row in zip(*shards.locate(places), strict=True):
        data = reader.read(int(shard), int(row))
        try:
            sizes.append(open_image(data).size)
        except UnreadableImage:
            num_broken += 1
    rows = [("images looked at", f"{len(places)}, {num_broken} of them unreadable")]
    if sizes:
        for name, values in zip(("width", "height"), np.array(sizes).T, strict=True):
            low, middle, high = np.percentile(values, (5, 50, 95))
            rows.append((f"{name}, 5/50/95 %", f"{low:.0f} / {middle:.0f} / {high:.0f} pixels"))
    return rows


def _classes(shards: ShardSet, places: np.ndarray) -> list[tuple[str, str]]:
    """How often each class occurs: in all of a small local set, else in the sampled images."""
    if shards.num_samples <= _MANY_SAMPLES and shards.remote is None:
        places = np.arange(shards.num_samples)
    reader = ShardReader(shards, whole=False)
    classes: Counter[int] = Counter()
    kinds: Counter[int] = Counter()
    for shard, row in zip(*shards.locate(places), strict=True):
        kind = int(shards.rows(int(shard))[row]["label_kind"])
        kinds[kind] += 1
        if kind == CLS_LABEL:
            classes[reader.label(int(shard), int(row))] += 1
    rows = [
        ("labels", f"{kinds[CLS_LABEL]} .cls, {kinds[JSON_LABEL]} .json, {kinds[NO_LABEL]} without")
    ]
    if classes:
        rows.append(("classes", f"{len(classes)}, numbered {min(classes)} to {max(classes)}"))
    if len(classes) <= _MANY_CLASSES:
        rows += [(f"  class {number}", str(count)) for number, count in sorted(classes.items())]
    return rows
