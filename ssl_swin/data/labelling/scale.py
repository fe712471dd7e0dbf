"""Numbers of regression in standard form: less the mean of the training set, over its deviation."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ssl_swin.data.shards.given import GivenLabels
from ssl_swin.data.shards.shard_set import ShardSet
from ssl_swin.errors import UserError

_LARGEST = 1e100  # whose square, and sum over images, is a number
Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each number."""


def scale_of(given: Iterable[GivenLabels | None]) -> Scale:
    """Return mean and standard deviation of each number over training sets; on any machine alike.

    Raises:
        UserError: If there is no label, or a number is the same of all images, or too large.
    """
    parts = [one for one in given if one is not None and one.num_known]
    width = next((len(p.values) // p.num_known for p in parts), 0)
    if not width:
        raise UserError("no training image has a number; see data.labels and data.label_field")
    largest = max(float(np.abs(part.values).max()) for part in parts)
    if largest > _LARGEST:
        raise UserError(
            f"a training image has the number {largest:g}, and squares are computed of numbers; "
            f"give them in a larger unit, up to {_LARGEST:g}"
        )
    columns = np.concatenate([part.values.reshape(-1, width) for part in parts]).T.tolist()
    mean = tuple(math.fsum(column) / len(column) for column in columns)
    squares = [
        math.fsum((value - middle) ** 2 for value in column)
        for column, middle in zip(columns, mean, strict=True)
    ]
    std = tuple(math.sqrt(each / len(columns[0])) for each in squares)
    if not all(std):
        raise UserError(
            f"all training images have the number {mean[std.index(0)]:g}, so there is nothing to "
            "learn; give others"
        )
    return mean, std


def scale_told(scale: Scale) -> str:
    """Say what numbers are learned."""
    each = (f"{mean:.4g} ± {std:.4g}" for mean, std in zip(*scale, strict=True))
    return f"numbers of an image: {len(scale[0])}, of the training images {', '.join(each)}"


def scaled(shards: ShardSet, scale: Scale) -> ShardSet:
    """Return a set with its numbers in standard form."""
    given = shards.given
    assert given is not None
    mean, std = map(np.array, scale)
    if len(given.values) != given.num_known * len(mean):
        raise UserError(
            f"{shards.storage.where(0)} and its set have other than {len(mean)} numbers an image, "
            "which the training images have; give each image as many"
        )
    values = (given.values.reshape(-1, len(mean)) - mean) / std
    return replace(shards, given=replace(given, values=values.ravel(), scale=scale))
