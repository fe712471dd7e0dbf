"""The target of SwinV2: pixels normalised by their surroundings."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.targets.target import Target


def normalised_pixels(norm_size: int = 47, **_others: Any) -> Target:
    """Predict each pixel less the mean of its surroundings, over their standard deviation.

    The surroundings are a square whose side is `norm_size` pixels, an odd number.

    Raises:
        UserError: If norm_size is even, or smaller than 3.

    Source:
        Swin-Transformer code, models/simmim.py, ``MODEL.SIMMIM.NORM_TARGET`` (47 for SwinV2 there).
    """
    if norm_size < 3 or norm_size % 2 == 0:
        raise UserError(
            f"norm_size={norm_size} has no centre pixel with neighbours; "
            "choose an odd number from 3 up"
        )
    return Target(partial(normalise_locally, size=norm_size))


def normalise_locally(
    images: Float[Tensor, "batch chans height width"], size: int
) -> Float[Tensor, "batch chans height width"]:
    """Normalise each pixel by the part inside the image of a square that is centred on it.

    Channels are apart; the variance is the unbiased one. The side of the square is `size` pixels,
    an odd number. The result is in float32, or float64 if the images are.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    mean, mean_square = _mean_around(images, size), _mean_around(images.square(), size)
    inside = torch.ones_like(images[:1, :1])
    num_px = functional.avg_pool2d(inside, size, 1, size // 2) * size**2  # (1, 1, height, width)
    variance = (mean_square - mean.square()) * num_px / (num_px - 1)
    return (images - mean) / (variance.clamp(min=0.0) + 1e-6).sqrt()


def _mean_around(
    x: Float[Tensor, "batch chans height width"], size: int
) -> Float[Tensor, "batch chans height width"]:
    """Return the mean of the part of each square that is inside, of rows first: it is a rectangle.

    So a pixel costs ``2 * size`` numbers to read instead of ``size ** 2``, and rounds less.
    """
    pool, half = partial(functional.avg_pool2d, stride=1, count_include_pad=False), size // 2
    return pool(pool(x, (size, 1), padding=(half, 0)), (1, size), padding=(0, half))
