"""The labels of a set that are no numbers in its tars: of every sample, held in memory."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ssl_swin.data.shards.names import MULTI, NUMBERS, SINGLE

__all__ = ["MISSING", "MULTI", "NUMBERS", "SINGLE", "UNUSABLE", "GivenLabels"]

MISSING, UNUSABLE = -1, -2  # in place of a class: no label, or one that is no number of 0 or more


@dataclass(frozen=True, eq=False)
class GivenLabels:
    """The label of every sample of a set: a class, several or none, or one or more numbers."""

    task: str
    """`SINGLE`, `MULTI` or `NUMBERS`."""
    starts: np.ndarray
    """int64 (num_samples + 1,): where in `values` those of each sample begin."""
    values: np.ndarray
    """int32 numbers of classes, or float64 numbers, of all samples one after the other."""
    missing: np.ndarray
    """bool (num_samples,): of which samples nothing is known; `MULTI` may have no class."""
    names: tuple[str, ...] | None = None
    """Of the classes, by number; numbers have none."""
    file: str | None = None
    """Where they come from, if they are not in the tars."""
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation of each number, where `values` are in standard form."""

    @cached_property
    def number(self) -> np.ndarray:
        """int64 (num_samples,): the one class of each sample, or `MISSING`."""
        found = np.full(len(self.missing), MISSING, np.int64)
        found[~self.missing] = self.values[self.starts[:-1][~self.missing]]
        return found

    @property
    def num_known(self) -> int:
        """Samples with a label."""
        return int((~self.missing).sum())

    def of(self, place: int) -> np.ndarray:
        """Return what is known of one sample, int32 or float64 (number,)."""
        return self.values[self.starts[place] : self.starts[place + 1]]

    def taken(self, rows: np.ndarray) -> "GivenLabels":
        """Return the labels of samples whose rows here these are, int64; -1 for none."""
        counts = np.where(rows < 0, 0, np.diff(self.starts)[rows])
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        # Of each value that is taken: its place among those of its sample, and their first here.
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        values = self.values[np.repeat(self.starts[:-1][rows], counts) + within]
        missing = (rows < 0) | self.missing[rows]
        return replace(self, starts=starts, values=values, missing=missing)

    def digest(self) -> str:
        """Hash what is known of all samples, and the names of the classes."""
        digest = hashlib.sha256(json.dumps([self.task, self.names]).encode())
        for array in (self.starts, self.values, self.missing):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def join_given(parts: Sequence[GivenLabels | None]) -> GivenLabels | None:
    """Lay the labels of sets end to end; None if some set has none, whose tars then say them."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or not known:
        return None
    ends = np.cumsum([0, *(one.starts[-1] for one in known)])
    starts = [one.starts[:-1] + end for one, end in zip(known, ends[:-1], strict=True)]
    return replace(
        known[0],
        starts=np.concatenate([*starts, ends[-1:]]),
        values=np.concatenate([one.values for one in known]),
        missing=np.concatenate([one.missing for one in known]),
    )
