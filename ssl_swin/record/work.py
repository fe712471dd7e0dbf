"""How much of a run is done, where steps cost more and more: images that grow."""

from collections.abc import Iterable
from typing import NamedTuple


class Smaller(NamedTuple):
    """The first steps of a run, whose images are smaller."""

    until_step: int
    share: float
    """Pixels of an image, of those of the last steps' images."""


def work_of(step: int, smaller: Iterable[Smaller]) -> float:
    """Return what so many steps take, in steps of the last kind: as much as they have pixels."""
    done, work = 0, 0.0
    for one in smaller:
        ends = max(done, min(step, one.until_step))
        work += (ends - done) * one.share
        done = ends
    return work + step - done


def share_at(step: int, smaller: Iterable[Smaller]) -> float:
    """Return what the step after so many takes, likewise."""
    return next((one.share for one in smaller if step < one.until_step), 1.0)
