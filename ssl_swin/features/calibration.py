"""Does a classifier that says 80 % mean 80 %? The expected calibration error."""

import numpy as np
from jaxtyping import Float, Int

_NUM_BINS = 15


def calibration_error(
    probability: Float[np.ndarray, "images num_classes"], label: Int[np.ndarray, " images"]
) -> float:
    """Return by how much confidence and accuracy differ, in per cent, 0 at best.

    Images are put into 15 bins of equal width by the probability of the class that is said; of each
    bin it is the difference between the mean of these and the share that is right, weighted by the
    images in it.

    Args:
        probability: Of each class; a row sums to 1.
        label: The right classes.

    Source:
        Guo et al., section 2 (arXiv:1706.04599). A probability on the border of two bins is in the
        upper one, and 1 has a bin of its own, as in torchmetrics' multiclass_calibration_error.
    """
    confidence, said = probability.max(axis=1), probability.argmax(axis=1)
    lower = np.arange(_NUM_BINS + 1) / _NUM_BINS
    which = np.clip(np.searchsorted(lower, confidence, side="right") - 1, 0, _NUM_BINS)
    gap = np.bincount(which, (said == label) - confidence, minlength=_NUM_BINS + 1)
    return 100 * float(np.abs(gap).sum()) / len(label)
