"""How well scores tell images that have a class from those that have not: AP and AUROC, exactly."""

import numpy as np


def average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the mean of precision over recall; NaN if no image has the class.

    Args:
        positive: Images that have the class, of each score, the highest first, (scores,).
        negative: The others, likewise.

    Source:
        Without interpolation, images of one score together, as scikit-learn's
        average_precision_score.
    """
    hits = np.cumsum(positive)
    said = hits + np.cumsum(negative)
    precision = np.divide(hits, said, out=np.zeros(len(hits)), where=said > 0)
    return float((precision * positive).sum() / hits[-1]) if len(hits) and hits[-1] else np.nan


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return how often an image with the class scores above one without, ties half; else NaN."""
    above, num_negative = np.cumsum(positive) - positive, negative.sum()
    pairs = positive.sum() * num_negative
    right = (negative * (above + positive / 2)).sum()
    return float(right / pairs) if pairs else np.nan


def counts_of(score: np.ndarray, has: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count images with and without a class, by score, float (images,), the highest first."""
    kinds, place = np.unique(-score, return_inverse=True)
    return tuple(np.bincount(place, one, len(kinds)) for one in (has, ~has))  # type: ignore[return-value]


def f1(hits: np.ndarray, said: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return F1 of each class, in [0, 1]; 0 where nothing was right, NaN where none is there."""
    found = 2 * hits / np.maximum(said + there, 1)
    return np.where(there > 0, found, np.nan)


def mean_of(values: np.ndarray) -> float:
    """Return the mean of what is a number; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
