"""The target of SimMIM's smaller resolutions: the mean of the pixels of each cell."""

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ssl_swin.models.targets.target import Target, require_cells


def coarse_pixels(cell_size: int = 8, **_others: Any) -> Target:
    """Predict the mean of the normalised pixels of each cell, of `cell_size` pixels to a side.

    Raises:
        UserError: If cells have no pixel.

    Source:
        SimMIM, section 4.1.3, "prediction resolution" (arXiv:2111.09886): smaller targets, of which
        the paper does not say how pixels become fewer. Ours is the mean.
    """
    require_cells(cell_size, "target coarse_pixels")
    return Target(partial(mean_of_cells, size=cell_size), cell_size)


def mean_of_cells(
    images: Float[Tensor, "batch chans height width"], size: int
) -> Float[Tensor, "batch chans rows cols"]:
    """Return the mean of each cell; the side of a cell is `size` pixels, and divides the image."""
    return functional.avg_pool2d(images, size)
