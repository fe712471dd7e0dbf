"""Decodes every image of some shards, and names what is broken."""

from pathlib import Path

import numpy as np

from ssl_swin.data.batches.labels import Labels, all_labels, name_labels
from ssl_swin.data.counting import counting
from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import MAX_PIXELS, Reading, UnreadableImage
from ssl_swin.data.pixels.depths import depth_warning
from ssl_swin.data.pixels.formats import check
from ssl_swin.data.shards.index_file import CLS_LABEL
from ssl_swin.data.shards.left_out import describe
from ssl_swin.data.shards.names import printable
from ssl_swin.data.shards.reader import ShardReader, some_images
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import ShardError
from ssl_swin.shard_tools.look import Expected, look_at
from ssl_swin.shard_tools.parallel import count_image, each

_NUM_LOOKED_AT = 1000  # images whose range of numbers is looked at


def verify(
    shards: str,
    num_workers: int = 4,
    cache_dir: str | None = None,
    max_pixels: int = MAX_PIXELS,
    num_classes: int | None = None,
    label_field: str = "label",
    labels: str | None = None,
) -> None:
    """Decode every image of the shards and print what is broken, by shard and key.

    The labels are looked at, too, if there are any: with `num_classes` every one must be a class.

    Args:
        shards: A folder, a tar, a pattern like train-{000000..000009}.tar, or a glob; or a URL.
        num_workers: Processes, each with one shard at a time, 1 or more.
        cache_dir: Where remote shards and indexes go; left out, the user's cache.
        max_pixels: Most pixels of an image, as `data.max_pixels`.
        num_classes: Classes of a model that is to learn these labels; left out, any number will do.
        label_field: Field of the .json member that holds the class, as `data.label_field`.
        labels: CSV or Parquet of keys and labels, for shards without labels, as `data.labels`.

    Raises:
        UserError: If `num_workers` is below 1, or a label is none of `num_classes`.
        ShardError: If an image or a .cls label is broken, or a shard is missing or was changed.
    """
    shard_set = open_shards(shards, cache_dir=None if cache_dir is None else Path(cache_dir))
    asked = Asked(field=label_field, file=labels)
    shard_set, said, odd = with_labels(shard_set, shards, asked)
    for line in [*describe(shard_set.left_out, shards), *said]:
        print(line)
    reading = Reading(max_pixels=max_pixels)
    jobs = [(shard_set, shard, reading) for shard in range(len(shard_set.counts))]
    num_broken, where = 0, shard_set.storage.where
    with counting("verifying", shard_set.num_samples) as count:
        for (_, shard, _), broken in each(broken_samples, jobs, num_workers, count):
            for key, why in broken:
                print(f"{where(shard)}: {key}: {why}", flush=True)
            num_broken += len(broken)
    if num_broken:
        raise ShardError(
            f"{num_broken} of {shard_set.num_samples} samples in {shards} are broken, as named "
            "above; pack them again, or let training replace them"
        )
    print(f"{shard_set.num_samples} samples in {len(jobs)} shards can be read")
    if odd is not None:
        raise odd
    for line in [*_odd(shard_set, reading), *describe_labels(shard_set, label_field, num_classes)]:
        print(line)


def _odd(shards: ShardSet, reading: Reading) -> list[str]:
    """Say what is odd in the numbers of some images."""
    warning = depth_warning(some_images(shards, _NUM_LOOKED_AT), reading)
    lines = look_at(shards, Expected(reading.max_pixels), _NUM_LOOKED_AT).lines()
    return lines if warning is None else [warning, *lines]


def with_labels(
    shards: ShardSet, where: str, asked: Asked
) -> tuple[ShardSet, list[str], ShardError | None]:
    """Give a set the labels that are asked for; return it, what is to be said, and what is wrong.

    What is wrong with a file of labels is known here alone; the rest is named with the samples.
    """
    try:
        found, said = attach({where: shards}, asked)
    except ShardError as error:
        return shards, [], error if asked.file is not None else None
    return found[where], said, None


def describe_labels(shards: ShardSet, field: str, num_classes: int | None = None) -> list[str]:
    """Say which classes there are, and warn of samples without one, and of numbers from 1.

    Raises:
        UserError: If a label is none of so many classes.
    """
    if num_classes is not None:
        Labels(num_classes, field).all(shards, "shards'")
    label = all_labels(shards, field)  # (num_samples,)
    usable, without = label[label >= 0], np.flatnonzero(label < 0)
    if not len(usable):
        return []
    classes = np.unique(usable)
    lines = [f"labels: {len(classes)} classes, numbered {classes[0]} to {classes[-1]}"]
    if len(without):
        named = name_labels(shards, label, without)
        lines.append(f"warning: {len(without)} of {len(label)} samples have no class: {named}")
    if classes[0] == 1 and len(classes) == classes[-1]:
        lines.append("warning: the labels seem to be numbered from 1; models number from 0")
    return lines


def broken_samples(job: tuple[ShardSet, int, Reading]) -> list[tuple[str, str]]:
    """Decode all images of the shard at a place of a set; RemoteError if it cannot be fetched.

    Returns:
        Key and reason of each broken sample, in tar order; a damaged tar counts as one.
    """
    shards, shard, reading = job
    reader, broken = ShardReader(shards), []
    try:
        for row, entry in enumerate(shards.storage.rows(shard)):
            count_image()
            try:
                check(reader.read(shard, row), reading)
                if entry["label_kind"] == CLS_LABEL:
                    reader.label(shard, row)
            except (UnreadableImage, ShardError) as error:
                broken.append((printable(reader.key(shard, row)), str(error)))
    except ShardError as error:  # the shard itself: changed, or its index is gone
        broken.append(("(whole shard)", str(error)))
    finally:
        shards.storage.close()
    return broken
