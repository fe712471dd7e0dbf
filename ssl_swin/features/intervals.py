"""How sure is it that one classifier is better than another, both asked of the same images?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ssl_swin.draw import Purpose, uniforms

_NUM_RESAMPLES = 10_000
_INSIDE = (2.5, 97.5)  # per cent
_MOST_DRAWN = 4_000_000  # places at once: 64 MiB


@dataclass(frozen=True)
class Interval:
    """A mean difference, and the interval in which it is for 95 % of samples of images."""

    difference: float
    low: float
    high: float


def paired_difference(
    one: Float[np.ndarray, " images"], other: Float[np.ndarray, " images"], seed: int
) -> Interval:
    """Return how much larger the mean of `one` is than that of `other`, of the same images.

    The interval is the percentile bootstrap's, over images: what other test images would have
    said of the same two networks. Of other pretraining seeds it says nothing.

    Args:
        one: A number for each image, such as 100 where it is right and else 0.
        other: The same of the other, in the same order.
        seed: Of the 10,000 resamples.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)  # (images,)
    num = len(difference)
    chunk = max(1, _MOST_DRAWN // num)
    means = []
    for first in range(0, _NUM_RESAMPLES, chunk):
        rows = min(chunk, _NUM_RESAMPLES - first)
        drawn = uniforms(rows * num, Purpose.BOOTSTRAP, seed, first)
        place = (drawn * num).astype(np.int64).reshape(rows, num)
        means.append(difference[place].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), _INSIDE)
    return Interval(float(difference.mean()), float(low), float(high))
