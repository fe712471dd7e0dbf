"""How much better is one network than another, of the same seeds, labels and test images?"""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
RESAMPLES = 10_000
Found = Mapping[int, Mapping[int, float]]  # seed -> draw of labels -> top-1, per cent


def t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval of the mean of paired differences, by Student's t; None of one alone."""
    if len(differences) < 2:
        return None
    mean, sd = statistics.mean(differences), statistics.stdev(differences)
    half = student.ppf((1 + LEVEL) / 2, len(differences) - 1) * sd / len(differences) ** 0.5
    return mean - half, mean + half


def bootstrap_interval(gains: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the mean of (images,) gains, when other test images are drawn."""
    values, counts = np.unique(
        gains, return_counts=True
    )  # a few: how often each is drawn is enough
    drawn = np.random.default_rng(seed).multinomial(len(gains), counts / len(gains), RESAMPLES)
    means = drawn @ values / len(gains)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def right(run: Path) -> np.ndarray | None:
    """Return of each test image, in per cent, whether a classifier is right; None if not known."""
    path = run / "evaluation" / "test" / "images.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([100.0 * (row["is"] == row["label"]) for row in csv.DictReader(file)])


def read(path: Path) -> dict[str, Any] | None:
    """Return what stands in a file of JSON; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def over_draws(found: Found) -> list[float]:
    """Return the mean of each seed over its draws."""
    return [statistics.mean(draws.values()) for draws in found.values()]


def gained(one: Found, other: Found) -> dict[int, dict[int, float]]:
    """Return how much larger `one` is, in the seeds and draws that both have."""
    gains: dict[int, dict[int, float]] = {}
    for seed, draws in one.items():
        for draw in sorted(draws.keys() & other.get(seed, {}).keys()):
            gains.setdefault(seed, {})[draw] = draws[draw] - other[seed][draw]
    return gains
