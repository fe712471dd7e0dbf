"""The target of MAE: the pixels of each patch, less their mean, over their deviation."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.targets.target import Target, require_cells

_EPSILON = 1e-6  # that is added to a variance


def normalised_patches(cell_size: int = 8, **_others: Any) -> Target:
    """Predict all pixels of each patch, of `cell_size` pixels to a side, in standard form.

    The numbers at a position are the pixels of the first channel, row by row, of the second, and so
    on.

    Raises:
        UserError: If patches have no pixel; or, asked for its numbers, if that is only one.

    Source:
        MAE, section 3, "Reconstruction target" (arXiv:2111.06377): mean and standard deviation are
        those of all pixels in a patch. Ours are over all its channels together, the variance is
        divided by their number, and has 1e-6 added to it.
    """
    require_cells(cell_size, "target normalised_patches")
    compute = partial(patches_in_standard_form, size=cell_size)
    return Target(compute, cell_size, partial(_num_chans, cell_size=cell_size), False)


def _num_chans(in_chans: int, cell_size: int) -> int:
    if in_chans * cell_size**2 == 1:
        raise UserError(
            "target normalised_patches with cell_size=1: a patch of one number less its mean is 0 "
            "always, and nothing would be learned; give cells of 2 or more pixels to a side"
        )
    return in_chans * cell_size**2


def patches_in_standard_form(
    images: Float[Tensor, "batch chans height width"], size: int
) -> Float[Tensor, "batch numbers rows cols"]:
    """Return the pixels of each patch with mean 0 and variance 1; the side divides the image.

    In float32, or float64 if the images are.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    patches = functional.pixel_unshuffle(images, size)  # (batch, chans * size ** 2, rows, cols)
    variance, mean = torch.var_mean(patches, 1, correction=0, keepdim=True)
    return (patches - mean) / (variance + _EPSILON).sqrt()
