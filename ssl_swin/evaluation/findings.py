"""What a classifier says of labelled images, held against their labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssl_swin.evaluation.classify import Answers
from ssl_swin.evaluation.measures import balanced, confusion_matrix, cross_entropy, top_k

NUM_RANKED = 5


@dataclass(frozen=True)
class Findings:
    """What was said of the images that can be decoded, in the order of their places."""

    num_classes: int
    place: np.ndarray
    """int64 (images,): place in the set."""
    label: np.ndarray
    """int64 (images,): the right class."""
    ranked: np.ndarray
    """int64 (images, ranks): the likeliest classes, the most likely first; at most `NUM_RANKED`."""
    probability: np.ndarray
    """float64 (images, ranks): theirs, 0 to 1."""
    right: np.ndarray
    """float64 (images,): probability of the right class."""
    broken: tuple[int, ...]
    """Places of the images that cannot be decoded."""

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 (num_classes, num_classes): images of each class, by what they are said to be."""
        return confusion_matrix(self.label, self.ranked[:, 0], self.num_classes)

    @cached_property
    def measures(self) -> dict[str, float]:
        """The measures of all images together, in per cent but for the loss."""
        return {
            **top_k(self.ranked, self.label, 1),
            **top_k(self.ranked, self.label, 5),
            **balanced(self.confusion),
            **cross_entropy(self.right),
        }

    def mistakes(self, num: int) -> np.ndarray:
        """Return the places in this of the most confident mistakes, the most confident first."""
        wrong = np.flatnonzero(self.ranked[:, 0] != self.label)
        order = np.argsort(-self.probability[wrong, 0], kind="stable")
        return wrong[order[:num]]


def find(answers: Iterable[Answers], label: np.ndarray, num_classes: int) -> Findings:
    """Hold what is said of all images against their labels, int64 (num_samples,); -1 for none."""
    parts: list[tuple[np.ndarray, ...]] = []
    broken: list[int] = []
    for answer in answers:
        good = ~answer.broken & (label[answer.index] >= 0)
        broken += answer.index[answer.broken].tolist()
        place, scores = answer.index[good], answer.probability[good]
        best = scores.topk(min(NUM_RANKED, num_classes), dim=1)
        right = scores.numpy()[np.arange(len(place)), label[place]]
        parts.append((place, label[place], best.indices.numpy(), best.values.numpy(), right))
    place, known, ranked, probability, right = map(np.concatenate, zip(*parts, strict=True))
    return Findings(num_classes, place, known, ranked, probability, right, tuple(broken))
