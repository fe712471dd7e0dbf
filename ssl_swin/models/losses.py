"""The error of a prediction: a table of losses, and their sum and mean over hidden pixels."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Target and prediction -> the error of every element, all three of one shape."""

_EPSILON = 1e-5  # the official code's; keeps the loss finite when nothing is hidden


def l1(target: Float[Tensor, "*shape"], prediction: Float[Tensor, "*shape"]) -> Tensor:
    """Return the absolute error of every element: SimMIM, section 3.4 (arXiv:2111.09886)."""
    return (target - prediction).abs()


LOSSES: dict[str, Loss] = {"l1": l1}
"""Name of a loss -> its function."""


def masked_error_per_image(
    target: Float[Tensor, "batch chans height width"],
    prediction: Float[Tensor, "batch chans height width"],
    pixel_mask: Bool[Tensor, "batch height width"],
    loss: Loss = l1,
    there: Bool[Tensor, "batch chans height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Sum the error over each image's hidden pixels and channels.

    Sums of micro-batches add up, which means of means do not: divide by the hidden pixels of the
    whole global batch with :func:`masked_mean`.

    The mask is True where hidden; `there` is False where the image holds no number, so that nothing
    can be wrong. Sums are in float32, or float64 if either input is: also under
    autocast.
    """
    dtype = torch.promote_types(torch.promote_types(target.dtype, prediction.dtype), torch.float32)
    error = loss(target.to(dtype), prediction.to(dtype))  # (batch, chans, height, width)
    counts = pixel_mask.unsqueeze(1)
    return (error * (counts if there is None else counts & there)).sum(dim=(1, 2, 3))


def hidden_px(
    pixel_mask: Bool[Tensor, "batch height width"], there: Bool[Tensor, "batch chans height width"]
) -> Float[Tensor, " batch"]:
    """Count each image's hidden pixels that hold a number; one of c channels counts 1 / c.

    In float64, so that sums over a batch are exact.
    """
    return (pixel_mask.unsqueeze(1) & there).sum(dim=(1, 2, 3)).double() / there.shape[1]


def masked_mean(
    error_sum: Float[Tensor, "*shape"], num_masked_px: Tensor | int, in_chans: int
) -> Float[Tensor, "*shape"]:
    """Divide summed errors by the hidden pixels, each counted once, and by the channels."""
    if isinstance(num_masked_px, Tensor):
        num_masked_px = num_masked_px.to(error_sum.dtype)
    return error_sum / (num_masked_px + _EPSILON) / in_chans
