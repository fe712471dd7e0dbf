"""The error of a prediction: a table of losses, and their sum and mean over hidden pixels."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ssl_swin.models.lookup import look_up

Loss = Callable[[Tensor, Tensor], Tensor]
"""Target and prediction -> the error of every element, all three of one shape.

Numbers of a position, which are in the second dimension, may be held against one another, as
:func:`cosine` does; others are not.
"""

_SHORTEST = 1e-6  # shorter vectors are divided by it, not by their length: the gradient is finite
_EPSILON = 1e-5  # the official code's; keeps the loss finite when nothing is hidden


def l1(target: Float[Tensor, "*shape"], prediction: Float[Tensor, "*shape"]) -> Tensor:
    """Return the absolute error of every element: SimMIM, section 3.4 (arXiv:2111.09886)."""
    return (target - prediction).abs()


def smooth_l1(
    target: Float[Tensor, "*shape"], prediction: Float[Tensor, "*shape"], beta: float = 1.0
) -> Tensor:
    """Return half the squared error over `beta` where the error is below it, else error - beta / 2.

    torch's smooth_l1_loss. Feature Distillation has a beta of 2 (its code).
    """
    return functional.smooth_l1_loss(prediction, target, reduction="none", beta=beta)


def l2(target: Float[Tensor, "*shape"], prediction: Float[Tensor, "*shape"]) -> Tensor:
    """Return the squared error of every element: MaskFeat, section 3.1 (arXiv:2112.09133)."""
    return (target - prediction).square()


def cosine(
    target: Float[Tensor, "batch chans *rest"], prediction: Float[Tensor, "batch chans *rest"]
) -> Tensor:
    """Return numbers whose mean over the channels of a position is minus the cosine of the two.

    A vector of zeros has a cosine of 0 with any other.

    Source:
        GFM (arXiv:2302.04476), its equation of the loss of features.
    """
    return -target.shape[1] * _of_length_1(target) * _of_length_1(prediction)


def _of_length_1(x: Float[Tensor, "batch chans *rest"]) -> Float[Tensor, "batch chans *rest"]:
    squared = x.square().sum(1, keepdim=True)
    return x * squared.clamp_min(_SHORTEST**2).rsqrt()


LOSSES: dict[str, Loss] = {"l1": l1, "smooth_l1": smooth_l1, "l2": l2, "cosine": cosine}
"""Name of a loss -> its function."""


def find_loss(setting: str, name: str, beta: float = 1.0) -> Loss:
    """Return the loss that a setting names, with the `beta` of those that have one.

    Raises:
        UserError: If there is no such loss.
    """
    loss = look_up(LOSSES, setting, name)
    return partial(smooth_l1, beta=beta) if loss is smooth_l1 else loss


def masked_error_per_image(
    target: Float[Tensor, "batch chans rows cols"],
    prediction: Float[Tensor, "batch chans rows cols"],
    hidden: Bool[Tensor, "batch rows cols"],
    loss: Loss = l1,
    there: Bool[Tensor, "batch _ rows cols"] | None = None,
) -> Float[Tensor, " batch"]:
    """Sum the error over each image's hidden positions, which may be pixels, and channels.

    Sums of micro-batches add up, which means of means do not: divide by the hidden positions of the
    whole global batch with :func:`masked_mean`.

    `hidden` is True where nothing was seen; `there` is False where the target holds no number, so
    that nothing can be wrong: for each channel, or for all of them. Sums are in float32, or float64
    if either input is: also under autocast.
    """
    dtype = torch.promote_types(torch.promote_types(target.dtype, prediction.dtype), torch.float32)
    error = loss(target.to(dtype), prediction.to(dtype))  # (batch, chans, rows, cols)
    counts = hidden.unsqueeze(1)
    return (error * (counts if there is None else counts & there)).sum(dim=(1, 2, 3))


def hidden_px(
    hidden: Bool[Tensor, "batch rows cols"], there: Bool[Tensor, "batch chans rows cols"]
) -> Float[Tensor, " batch"]:
    """Count each image's hidden positions that hold a number; one of c channels counts 1 / c.

    In float64, so that sums over a batch are exact.
    """
    return (hidden.unsqueeze(1) & there).sum(dim=(1, 2, 3)).double() / there.shape[1]


def masked_mean(
    error_sum: Float[Tensor, "*shape"], num_hidden: Tensor | int, num_chans: int
) -> Float[Tensor, "*shape"]:
    """Divide summed errors by the hidden positions, each counted once, and by the channels."""
    if isinstance(num_hidden, Tensor):
        num_hidden = num_hidden.to(error_sum.dtype)
    return error_sum / (num_hidden + _EPSILON) / num_chans
