"""What frozen features are worth: the table of measures, each a function of features and labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.errors import nearest as nearest_name
from ssl_swin.evaluation.measures import balanced, confusion_matrix, cross_entropy
from ssl_swin.features.calibration import calibration_error
from ssl_swin.features.collapse import collapse_signs
from ssl_swin.features.few_labels import few_labels
from ssl_swin.features.neighbours import nearest, vote
from ssl_swin.features.probe import Moments, Probe, fit_probe, threads_for

NEIGHBOURS = (1, 5, 10, 20)
_VOTES = 8192  # images whose votes are counted at once


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Features of the training and the test images whose class is known; float32, on the CPU."""

    train: Tensor
    """(n, d)"""
    train_place: np.ndarray
    """int64 (n,): of each image in its set."""
    train_label: np.ndarray
    """int64 (n,)"""
    test: Tensor
    """(m, d)"""
    test_place: np.ndarray
    """int64 (m,)"""
    test_label: np.ndarray
    """int64 (m,)"""
    num_classes: int
    draws: list[tuple[str, list[np.ndarray]]]
    """Draws of few labels: what they are called, and the rows of `train` in each."""
    seed: int
    device: torch.device
    """Where products are computed."""

    @cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """Similarities and rows of the 20 training images nearest to each test image."""
        return self._nearest(self.train)

    @cached_property
    def moments(self) -> Moments:
        """Those of the training images."""
        return Moments.of(self.train)

    @cached_property
    def probe(self) -> Probe:
        """The one that is fitted to all training images."""
        return self._fit(self.train, self.train_label)

    @cached_property
    def probe_probability(self) -> np.ndarray:
        """What it says of the test images, float64 (m, num_classes)."""
        return self.probe.probabilities(self.test, self.num_classes)

    def knn_said(self, k: int) -> np.ndarray:
        """Return the classes that the k nearest say, int64 (m,)."""
        similarity, index = self.neighbours
        return self._said(similarity[:, :k], index[:, :k], self.train_label)

    def of_rows(self, rows: np.ndarray) -> tuple[float, float]:
        """Return the top-1 in per cent of a probe and of kNN that know these images only."""
        if len(rows) == len(self.train):
            said = self.probe_probability.argmax(axis=1)
            return self.top1(said), self.top1(self.knn_said(max(NEIGHBOURS)))
        train, label = self.train[torch.from_numpy(rows)], self.train_label[rows]
        probe = self._fit(train, label)
        with threads_for(self.test.numel() * (len(rows) + self.num_classes)):
            probability = probe.probabilities(self.test, self.num_classes)
            knn = self._said(*self._nearest(train), label)
        return self.top1(probability.argmax(axis=1)), self.top1(knn)

    def top1(self, said: np.ndarray) -> float:
        """Return how often this is the class of a test image, in per cent."""
        return 100 * float((said == self.test_label).mean())

    def balanced(self, said: np.ndarray) -> float:
        """Return the same, each class with the same weight."""
        confusion = confusion_matrix(self.test_label, said, self.num_classes)
        return balanced(confusion)["balanced_accuracy"]

    def _fit(self, train: Tensor, label: np.ndarray) -> Probe:
        return fit_probe(train, label, self.moments, self.seed, self.device)

    def _nearest(self, train: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return nearest(train, self.test.to(self.device), max(NEIGHBOURS), dtype=dtype)

    def _said(self, similarity: Tensor, index: Tensor, label: np.ndarray) -> np.ndarray:
        """Return the classes that neighbours say; the shares of all would be much memory."""
        of = torch.from_numpy(label)
        said = [
            vote(alike, places, of, self.num_classes).argmax(dim=1)
            for alike, places in zip(similarity.split(_VOTES), index.split(_VOTES), strict=True)
        ]
        return torch.cat(said).cpu().numpy()


@dataclass(frozen=True)
class Finding:
    """What a measure found."""

    numbers: dict[str, float]
    """By name; what is a share is in per cent."""
    said: dict[str, np.ndarray] = field(default_factory=dict)
    """By the name of a number that is a top-1: the class of each test image that it counts, int64
    (m,). Networks are compared by it, image by image."""
    few_labels: list[dict[str, Any]] = field(default_factory=list)
    """As in `summary.json`."""


def _knn(features: LabelledFeatures) -> Finding:
    said = {k: features.knn_said(k) for k in NEIGHBOURS}
    numbers = {f"knn{k}": features.top1(one) for k, one in said.items()}
    numbers["knn20_balanced"] = features.balanced(said[20])
    return Finding(numbers, {"knn20": said[20]})


def _probe(features: LabelledFeatures) -> Finding:
    probability, label = features.probe_probability, features.test_label
    said = probability.argmax(axis=1)
    numbers = {
        "probe": features.top1(said),
        "probe_balanced": features.balanced(said),
        "probe_calibration_error": calibration_error(probability, label),
        "probe_loss": cross_entropy(probability[np.arange(len(label)), label])["loss"],
        "probe_penalty": features.probe.penalty,
    }
    return Finding(numbers, {"probe": said})


def _few_labels(features: LabelledFeatures) -> Finding:
    found = []
    for name, draws in features.draws:
        probe, knn = zip(*(features.of_rows(rows) for rows in draws), strict=True)
        found.append(
            {"name": name, "num_labels": len(draws[0])}
            | {"top1": list(probe), "mean": float(np.mean(probe)), "sd": _sd(probe)}
            | {"knn_top1": list(knn), "knn_mean": float(np.mean(knn)), "knn_sd": _sd(knn)}
        )
    return Finding({}, few_labels=found)


def _collapse(features: LabelledFeatures) -> Finding:
    """Of the test images, where there are two."""
    return Finding(collapse_signs(features.test) if len(features.test) > 1 else {})


Measure = Callable[[LabelledFeatures], Finding]

MEASURES: dict[str, Measure] = {
    "knn": _knn,
    "probe": _probe,
    "few_labels": _few_labels,
    "collapse": _collapse,
}


def chosen_measures(measures: Sequence[str]) -> list[str]:
    """Return the names of measures, in the order of the table; all if none is named.

    Raises:
        UserError: If one is unknown.
    """
    named = [name for one in measures for name in one.split(",") if name]
    for name in named:
        if name not in MEASURES:
            raise UserError(
                f"measures={name} is unknown{nearest_name(name, MEASURES)}; give one or more of "
                f"{', '.join(MEASURES)}"
            )
    return [name for name in MEASURES if name in named or not named]


def draws_of_rows(
    label: np.ndarray, place: np.ndarray, seed: int
) -> list[tuple[str, list[np.ndarray]]]:
    """Draw few labels, the same of a set whatever network looks at it.

    Args:
        label: The class of every image of the set, int64; negative if it is not known.
        place: Of these, the places of those that there are features of, ascending.
        seed: Of the draws.

    Returns:
        What each number of labels is called, and its draws as places in `place`; without draws of
        which there are features of no image.
    """
    found = []
    for one in few_labels(label, seed):
        draws = [np.flatnonzero(np.isin(place, draw)) for draw in one.draws]
        if draws := [rows for rows in draws if len(rows)]:
            found.append((one.name, draws))
    return found


def _sd(values: tuple[float, ...]) -> float | None:
    """Return the standard deviation (n - 1); None of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
