"""Draws of few labelled images, the same for every network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ssl_swin.draw import Purpose, permutation

NUM_DRAWS = 5
_PER_CLASS = (1, 2, 5, 10)
_SHARES = (1, 10)  # per cent


@dataclass(frozen=True)
class FewLabels:
    """So many labels, drawn several times."""

    name: str
    draws: tuple[Int[np.ndarray, " labels"], ...]
    """The places of each draw, ascending."""

    @property
    def num_labels(self) -> int:
        """Labels of a draw."""
        return len(self.draws[0])


def few_labels(label: Int[np.ndarray, " images"], seed: int) -> Iterator[FewLabels]:
    """Yield 1, 2, 5 and 10 labels per class, and 1 %, 10 % and 100 % of all, 5 draws of each.

    Labels are drawn within their class, and those of a smaller number are among those of a larger.
    A class with fewer images gives all it has. Of a share every class has its part, rounded, and
    one at least; a share of fewer labels than classes is left out, and so is what would take all
    labels, of which there is but one draw.

    Args:
        label: The class of each image; negative if it is not known.
        seed: Of the draws, which depend on nothing else.
    """
    known = np.flatnonzero(label >= 0)  # (labelled images,)
    classes, count = np.unique(label[known], return_counts=True)
    wanted = [(f"{num} per class", np.minimum(count, num)) for num in _PER_CLASS]
    for share in _SHARES:
        if (num := round(share / 100 * len(known))) >= len(classes):
            wanted.append((f"{share} %", _parts(count, num)))
    for name, parts in wanted:
        if parts.sum() < len(known):
            kinds = list(zip(classes.tolist(), parts.tolist(), strict=True))
            draws = (_draw(label, kinds, seed, number) for number in range(NUM_DRAWS))
            yield FewLabels(name, tuple(draws))
    yield FewLabels("100 %", (known,))


def _draw(
    label: np.ndarray, kinds: list[tuple[int, int]], seed: int, number: int
) -> Int[np.ndarray, " labels"]:
    """Draw so many images of each class."""
    chosen = []
    for kind, part in kinds:
        members = np.flatnonzero(label == kind)  # (images of the class,)
        order = permutation(len(members), Purpose.FEW_LABELS, seed, number, kind)
        chosen.append(members[order[:part]])
    return np.sort(np.concatenate(chosen))


def _parts(count: Int[np.ndarray, " classes"], num: int) -> Int[np.ndarray, " classes"]:
    """Deal `num` labels to classes in proportion to their images, one each at least."""
    exact = count * (num / count.sum())
    parts = np.maximum(1, np.floor(exact).astype(np.int64))
    rest = np.argsort(parts - exact, kind="stable")[: max(0, num - parts.sum())]
    parts[rest] += 1
    return np.minimum(parts, count)
