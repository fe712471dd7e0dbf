"""Sums over images of several classes each, or of numbers, and what they come to.

The sums of parts add up to those of the whole, whatever ranks measured which part.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssl_swin.evaluation.ranking import auroc, average_precision, f1, mean_of

THRESHOLD = 0.5  # a class whose probability is this or more is said to be there
NUM_BINS = 2048  # of a probability; images in one bin count as equal
HITS, SAID_THERE, THERE = "hits_of_class", "said_of_class", "there_of_class"
POSITIVE, NEGATIVE = "positive_by_score", "negative_by_score"
ERRORS, SQUARES = "errors_of_number", "squares_of_number"
TOTALS, TOTAL_SQUARES, NUMBERS_OF = "total_of_number", "total_squares_of_number", "num_of_number"


def sums_of_classes(probability: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return sums over images, float64: (num_classes,), and (num_classes, `NUM_BINS`) by score.

    Args:
        probability: Of each class, float64 (batch, num_classes).
        target: 1 where an image has the class, else 0, likewise.
    """
    num = probability.shape[1]
    said = (probability >= THRESHOLD).double()
    bins = (probability * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    place = (bins + NUM_BINS * torch.arange(num, device=bins.device)).flatten()
    none = torch.zeros(num * NUM_BINS, dtype=torch.float64, device=bins.device)
    by_score = {
        name: none.index_add(0, place, has.flatten()).view(num, NUM_BINS)
        for name, has in ((POSITIVE, target), (NEGATIVE, 1 - target))
    }
    return {
        HITS: (said * target).sum(dim=0),
        SAID_THERE: said.sum(dim=0),
        THERE: target.sum(dim=0),
        **by_score,
    }


def sums_of_numbers(error: Tensor, target: Tensor, std: tuple[float, ...]) -> dict[str, Tensor]:
    """Return sums over images, float64 (numbers,), of errors and targets in standard form.

    Those of `ERRORS` are in the units of the labels, whose deviations are `std`.
    """
    return {
        ERRORS: error.abs().sum(dim=0) * torch.tensor(std, dtype=error.dtype, device=error.device),
        SQUARES: error.square().sum(dim=0),
        TOTALS: target.sum(dim=0),
        TOTAL_SQUARES: target.square().sum(dim=0),
        NUMBERS_OF: torch.full_like(target[:1].sum(dim=0), len(target)),
    }


def means_of(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Return what sums of either kind come to; nothing of sums of other kinds.

    `map`, `macro_f1`: per cent, and `auroc`, 0 to 1: means over the classes that occur. `mae`: in
    the units of the labels, and `r2`; both are means over the numbers.
    """
    found = {name: value.cpu().numpy() for name, value in sums.items()}
    if POSITIVE in found:
        ranked = list(zip(found[POSITIVE][:, ::-1], found[NEGATIVE][:, ::-1], strict=True))
        return {
            "map": 100 * mean_of(np.array([average_precision(*one) for one in ranked])),
            "macro_f1": 100 * mean_of(f1(found[HITS], found[SAID_THERE], found[THERE])),
            "auroc": mean_of(np.array([auroc(*one) for one in ranked])),
        }
    if ERRORS not in found or not found[NUMBERS_OF].all():
        return {}
    num = found[NUMBERS_OF]
    spread = found[TOTAL_SQUARES] - found[TOTALS] ** 2 / num
    share = np.divide(found[SQUARES], spread, out=np.full(len(num), math.nan), where=spread > 0)
    return {"mae": float((found[ERRORS] / num).mean()), "r2": mean_of(1 - share)}
