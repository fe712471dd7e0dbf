"""The target of MaskFeat: histograms of oriented gradients, on the device."""

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.targets.target import Target, require_cells

SOBEL = (1.0, 2.0, 1.0)  # how a derivative is smoothed across; (0, 1, 0) leaves the plain one
_EPSILON = 1e-5  # scikit-image's; a cell without any gradient stays 0


def hog(cell_size: int = 8, hog_bins: int = 9, **_others: Any) -> Target:
    """Predict the histogram of the directions of edges in each cell, channel by channel.

    A cell has `cell_size` pixels to a side, and `hog_bins` directions of 180 degrees. The numbers
    at a position are the bins of the first channel, of the second, and so on.

    Raises:
        UserError: If cells have no pixel, or there are less than two bins.

    Source:
        MaskFeat, section 3.2 (arXiv:2112.09133): 9 unsigned bins, cells of 8 pixels, the channels
        of RGB apart, L2 over the bins of a cell, no larger blocks; Sobel's derivative, and no
        weights by place. Bins are counted as scikit-image counts them, from the direction in which
        columns rise; MaskFeat's own code counts from the other axis, which puts them in another
        order.
    """
    require_cells(cell_size, "target hog")
    if hog_bins < 2:
        raise UserError(f"hog_bins={hog_bins} tells no direction from another; give 2 or more")
    compute = partial(histograms, cell_size=cell_size, num_bins=hog_bins)
    return Target(compute, cell_size, lambda in_chans: in_chans * hog_bins, False, reach=1)


def histograms(
    images: Float[Tensor, "batch chans height width"],
    cell_size: int,
    num_bins: int,
    smoothing: tuple[float, float, float] = SOBEL,
) -> Float[Tensor, "batch bins rows cols"]:
    """Return each cell's histogram, of length 1, the bins of all channels after one another.

    An edge counts by its strength, for one bin alone. In float32, or float64 if the images are.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    down, right = gradients(images, smoothing)
    strength = (down.square() + right.square()).sqrt()
    bins = directions(down, right, num_bins)
    found = [functional.avg_pool2d(strength * (bins == one), cell_size) for one in range(num_bins)]
    cells = torch.stack(found, 2)  # (batch, chans, num_bins, rows, cols)
    length = (cells.square().sum(2, keepdim=True) + _EPSILON**2).sqrt()
    return (cells / length).flatten(1, 2)


def gradients(
    images: Float[Tensor, "batch chans height width"], smoothing: tuple[float, float, float]
) -> tuple[Float[Tensor, "batch chans height width"], Float[Tensor, "batch chans height width"]]:
    """Return how the numbers rise from row to row, and from column to column.

    The image is reflected at its border. Each sum is written out, so that it is rounded alike
    whatever the batch: a convolution need not be, and an edge would change its bin.
    """
    around = functional.pad(images, (1, 1, 1, 1), "reflect")
    rise = around[:, :, 2:] - around[:, :, :-2]  # (batch, chans, height, width + 2)
    fall = around[..., 2:] - around[..., :-2]  # (batch, chans, height + 2, width)
    before, here, after = smoothing
    down = before * rise[..., :-2] + here * rise[..., 1:-1] + after * rise[..., 2:]
    right = before * fall[:, :, :-2] + here * fall[:, :, 1:-1] + after * fall[:, :, 2:]
    return down, right


def directions(
    down: Float[Tensor, "*shape"], right: Float[Tensor, "*shape"], num_bins: int
) -> Int[Tensor, "*shape"]:
    """Return the bin of each gradient: of 0 to 180 degrees, from columns rising to rows rising.

    It is the number of limits between bins that the angle has passed. Sums and products alone, so
    that all devices find the same; an arc tangent is rounded as each has it.
    """
    is_below = (down < 0) | ((down == 0) & (right < 0))
    sign = torch.where(is_below, -1.0, 1.0).to(down.dtype)
    down, right = sign * down, sign * right
    bins = torch.zeros_like(down, dtype=torch.int8)
    for limit in range(1, num_bins):
        angle = math.pi * limit / num_bins
        bins += down * math.cos(angle) - right * math.sin(angle) >= 0
    return bins
