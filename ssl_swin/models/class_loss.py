"""Stop "fine-tune" on the route: how wrong logits are, for soft targets and uneven classes."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def balanced_weights(frequency: Float[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """Return a weight for each class so that all classes weigh alike, and images 1 in the mean.

    A class whose images are half as many counts twice as much: ``1 / (classes * frequency)``, of
    the classes that have images. One that has none gets 1.

    Args:
        frequency: Of each class among the images that are drawn; they sum to 1.

    Source:
        scikit-learn, ``class_weight="balanced"``, from King and Zeng, Logistic Regression in Rare
        Events Data (2001).
    """
    there = frequency > 0  # (classes,)
    return np.where(there, 1 / (there.sum() * np.where(there, frequency, 1.0)), 1.0)


class ClassLoss(nn.Module):
    """Cross-entropy with soft targets; weighted by class and focal, if asked to.

    Of an image it is ``-sum_c w_c t_c (1 - p_c)**gamma log p_c`` with targets t, probabilities p
    and weights w. For one class per image and gamma 0 that is the plain one. Mixed and smoothed
    targets need no other definition: each class counts by its part of the target.

    Source:
        torch.nn.CrossEntropyLoss with class probabilities, before its mean over images; Focal Loss
        for Dense Object Detection, section 3.2 (arXiv:1708.02002), with softmax for sigmoid.
    """

    weights: Tensor | None  # (classes,)

    def __init__(self, weights: tuple[float, ...] = (), gamma: float = 0.0) -> None:
        """Weigh classes by `weights`, empty for 1; `gamma` makes what is right already count less.

        Weights are no part of the state.
        """
        super().__init__()
        self.gamma = gamma
        given = torch.tensor(weights) if weights else None
        self.register_buffer("weights", given, persistent=False)

    def forward(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, "batch classes"],
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each image, in the type of the logits."""
        log_p = functional.log_softmax(logits, dim=-1)
        terms = target * log_p
        if self.gamma:
            # Never 0, where a power below 1 has no slope.
            rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
            terms = terms * rest**self.gamma
        if self.weights is not None:
            terms = terms * self.weights
        return -terms.sum(dim=-1)
