"""Random numbers that are pure functions of what they are for: (seed, purpose, epoch, index, ...).

Only raw bits of a counter-based generator are used, never NumPy's derived distributions, whose
streams may change between NumPy releases: a run resumed after an upgrade still sees the same data.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw decides; two purposes never share numbers. The values never change."""

    SHARD_ORDER = 1
    BLOCK_ORDER = 2
    ROTATION = 3
    CROP = 4
    FLIP = 5
    RAND_AUGMENT = 6
    ERASING = 7
    SUBSET = 8
    MIXUP = 9
    STEP = 10
    MIXTURE = 11
    FEW_LABELS = 12
    HELD_OUT_LABELS = 13
    BOOTSTRAP = 14
    QUERIES = 15
    MONITORED = 16
    CLASS_ORDER = 17
    WITHIN_CLASS = 18
    VFLIP = 19
    QUARTER_TURNS = 20


def raw(num: int, *key: int) -> np.ndarray:
    """Return `num` uint64 numbers that depend on `key` alone (non-negative integers)."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(num)


def uniforms(num: int, *key: int) -> np.ndarray:
    """Return `num` float64 numbers in [0, 1) that depend on `key` alone."""
    return (raw(num, *key) >> np.uint64(11)) * 2.0**-53


def normals(num: int, *key: int) -> np.ndarray:
    """Return `num` standard normal float64 numbers (Box-Muller) that depend on `key` alone."""
    pairs = uniforms(num + num % 2, *key).reshape(2, -1)
    radius, angle = np.sqrt(-2 * np.log1p(-pairs[0])), 2 * np.pi * pairs[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:num]


def permutation(num: int, *key: int) -> np.ndarray:
    """Return a permutation of `range(num)`, int64, that depends on `key` alone."""
    return np.argsort(raw(num, *key), kind="stable")


def integer(bound: int, *key: int) -> int:
    """Return an integer in [0, bound) that depends on `key` alone."""
    return int(raw(1, *key)[0] % np.uint64(bound))


@contextmanager
def seeded_globals(*key: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators from `key`, and put them back afterwards.

    For library code that draws from the globals (timm's RandAugment and Mixup).
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    seeds = raw(2, *key)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1] % np.uint64(2**32)))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
