"""What is to be predicted: the pixels themselves, or pixels normalised by their surroundings."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def pixel_target(
    images: Float[Tensor, "batch chans height width"],
) -> Float[Tensor, "batch chans height width"]:
    """Predict the normalised pixels as the encoder would have seen them.

    Source:
        SimMIM, section 3.4 (arXiv:2111.09886).
    """
    return images


def check_norm_target_size(size: int) -> None:
    """Refuse a square without a centre pixel or without neighbours.

    Args:
        size: Side of the normalising square in pixels.

    Raises:
        ValueError: If it is even, or smaller than 3.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(
            f"norm_target_size={size} has no centre pixel with neighbours; "
            "choose an odd number from 3 up"
        )


def normalized_target(
    images: Float[Tensor, "batch chans height width"], size: int = 47
) -> Float[Tensor, "batch chans height width"]:
    """Predict each pixel less the mean of its surroundings, over their standard deviation.

    The surroundings are the part inside the image of a square centred on the pixel; channels are
    apart; the variance is the unbiased one.

    Args:
        images: Normalised.
        size: Side of the square in pixels, odd.

    Returns:
        In float32, or float64 if the images are.

    Raises:
        ValueError: If size is even, or smaller than 3.

    Source:
        Swin-Transformer code, models/simmim.py, ``MODEL.SIMMIM.NORM_TARGET`` (47 for SwinV2 there).
    """
    check_norm_target_size(size)
    images = images.to(torch.promote_types(images.dtype, torch.float32))

    def mean_around(x: Tensor, count_outside: bool) -> Tensor:
        return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=count_outside)

    mean = mean_around(images, count_outside=False)
    mean_square = mean_around(images.square(), count_outside=False)
    inside = torch.ones_like(images[:1, :1])
    num_px = mean_around(inside, count_outside=True) * size**2  # (1, 1, height, width)
    variance = (mean_square - mean.square()) * num_px / (num_px - 1)
    return (images - mean) / (variance.clamp(min=0.0) + 1e-6).sqrt()
