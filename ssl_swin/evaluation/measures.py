"""What predictions are worth: plain functions of labels and of what was said, in NumPy.

A measure is in per cent, but for counts and losses. Where it is that of scikit-learn, tests hold it
against scikit-learn's numbers.
"""

import numpy as np
from jaxtyping import Float, Int


def top_k(
    ranked: Int[np.ndarray, "images ranks"], label: Int[np.ndarray, " images"], k: int
) -> dict[str, float]:
    """Measure how often the right class is among the k likeliest.

    Args:
        ranked: The likeliest classes of each image, the most likely first; at least
            `min(k, num_classes)` of them.
        label: The right class of each image.
        k: How many may be right.
    """
    right = (ranked[:, :k] == label[:, None]).any(axis=1)
    return {f"top{k}": 100 * int(right.sum()) / len(label)}


def cross_entropy(right: Float[np.ndarray, " images"]) -> dict[str, float]:
    """Return the mean of the logarithm of one over the probability of the right class."""
    tiny = np.finfo(np.float64).tiny  # instead of infinity
    return {"loss": float(-np.log(np.maximum(right, tiny)).mean())}


def confusion_matrix(
    label: Int[np.ndarray, " images"], said: Int[np.ndarray, " images"], num_classes: int
) -> Int[np.ndarray, "num_classes num_classes"]:
    """Count the images of each class, by row, that are said to be of each class, by column."""
    pairs = np.bincount(label * num_classes + said, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def per_class(
    confusion: Int[np.ndarray, "num_classes num_classes"],
) -> dict[str, np.ndarray]:
    """Return count, precision, recall and f1 of each class, (num_classes,) each.

    What would be a share of no image is 0, as in scikit-learn.
    """
    right, count, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "count": count,
        "precision": _share(right, said),
        "recall": _share(right, count),
        "f1": _share(2 * right, count + said),
    }


def balanced(confusion: Int[np.ndarray, "num_classes num_classes"]) -> dict[str, float]:
    """Return the mean recall over classes that have images, and the mean f1 over those in use.

    A class is in use if it has an image, or an image is said to be of it. Accuracy follows the
    largest classes; these two give each class the same weight.

    Source:
        scikit-learn's balanced_accuracy_score, and f1_score with average="macro".
    """
    found = per_class(confusion)
    used = (confusion.sum(axis=0) + found["count"]) > 0
    return {
        "balanced_accuracy": float(found["recall"][found["count"] > 0].mean()),
        "macro_f1": float(found["f1"][used].mean()),
    }


def most_confused(
    confusion: Int[np.ndarray, "num_classes num_classes"], num: int
) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes: right class, said class, images; the most first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:num]
    rows, columns = np.unravel_index(order, wrong.shape)
    found = zip(rows.tolist(), columns.tolist(), wrong[rows, columns].tolist(), strict=True)
    return [(row, column, count) for row, column, count in found if count]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part of whole in per cent, 0 of nothing."""
    return 100 * part / np.maximum(whole, 1)
