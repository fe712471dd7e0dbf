"""Signs of collapse, which need no label: do the features of different images differ?"""

import math
from collections.abc import Iterator
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

_ROWS = 4096  # images at once


def collapse_signs(features: Float[Tensor, "n d"]) -> dict[str, float]:
    """Return `rankme`, `feature_std` and `mean_cosine` of the features of n images, 2 or more.

    Features of one and the same image over and over give 1, 0 and 1. Those that spread evenly in
    all directions give about the smaller of n and d, 1 and 0. Features that are not finite give
    numbers that are not. Computed in float64.

    Raises:
        ValueError: If there are fewer than two images.
    """
    if len(features) < 2:
        raise ValueError(f"signs of collapse need 2 images or more, and there are {len(features)}")
    return {
        "rankme": rankme(features),
        "feature_std": feature_std(features),
        "mean_cosine": mean_cosine(features),
    }


def rankme(features: Float[Tensor, "n d"]) -> float:
    """Return the effective rank: the exponential of the entropy of the singular values' shares.

    From 1, all features on one line through 0, to the smaller of n and d; 0 if all are 0. Features
    are taken as they are, not centred.

    Source:
        RankMe (Garrido et al. 2023, arXiv:2210.02885), without its 1e-7 beside each
        share: a share of 0 counts nothing here. The singular values are roots of the eigenvalues
        of the smaller of two products, so those below 1e-7 of the largest are lost in rounding.
    """
    if not all(part.isfinite().all() for part in features.split(_ROWS)):
        return math.nan
    if features.shape[0] > features.shape[1]:
        product = _sum(part.T @ part for part in _parts(features))
    else:
        product = features.double() @ features.double().T
    values = torch.linalg.eigvalsh(product)  # (min(n, d),), ascending
    rounding = values[-1] * len(values) * torch.finfo(values.dtype).eps
    singular = values[values > rounding].sqrt()
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp()) if len(share) else 0.0


def feature_std(features: Float[Tensor, "n d"]) -> float:
    """Return the standard deviation of a channel over images of length 1, mean over the channels.

    It is multiplied with the root of d, so 1 is the most for any d, and 0 is a collapse.

    Source:
        SimSiam, section 4.1 (arXiv:2011.10566), which does not multiply: there the most is 1 over
        the root of d.
    """
    mean = _sum(part.sum(0) for part in _units(features)) / len(features)  # (d,)
    squares = _sum((part - mean).square().sum(0) for part in _units(features))  # (d,)
    return float((squares / len(features)).sqrt().mean()) * math.sqrt(features.shape[1])


def mean_cosine(features: Float[Tensor, "n d"]) -> float:
    """Return the mean cosine similarity of all pairs of two images, exactly.

    No pair is looked at: the squared length of the sum of all directions is the sum over all
    pairs, and n over each image with itself.
    """
    with_itself = _sum(part.square().sum() for part in _units(features))
    every = _sum(part.sum(0) for part in _units(features)).square().sum()
    return float((every - with_itself) / (len(features) * (len(features) - 1)))


def _parts(features: Tensor) -> Iterator[Tensor]:
    """Yield some rows at a time, in float64: a copy of all would take twice the memory of all."""
    return (part.double() for part in features.split(_ROWS))


def _units(features: Tensor) -> Iterator[Tensor]:
    """Yield some rows at a time, in float64, each of length 1."""
    return (normalize(part, dim=1) for part in _parts(features))


def _sum(parts: Iterator[Tensor]) -> Tensor:
    return reduce(torch.add, parts)
