"""Stop "rebuild" on the route: features back to pixels, and the error where they were hidden."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_EPSILON = 1e-5  # the official code's; keeps the loss finite when nothing is hidden


class PixelDecoder(nn.Module):
    """Predict every pixel below a position of the encoder's output by one linear layer.

    Source:
        SimMIM, section 3.3 (arXiv:2111.09886); PyTorch's default initialisation, as there.
    """

    def __init__(self, num_features: int, stride: int, in_chans: int = 3) -> None:
        """Build the layer.

        Args:
            num_features: Channels of the encoder's output.
            stride: Pixels per position of the encoder's output, in each axis.
            in_chans: Image channels.
        """
        super().__init__()
        self.conv = nn.Conv2d(num_features, stride**2 * in_chans, kernel_size=1)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(
        self, features: Float[Tensor, "batch num_features rows cols"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict the image: height is ``rows * stride``."""
        return self.shuffle(self.conv(features))


def masked_error_per_image(
    images: Float[Tensor, "batch chans height width"],
    reconstruction: Float[Tensor, "batch chans height width"],
    pixel_mask: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """Sum the absolute error over each image's hidden pixels and channels.

    Args:
        images: The target, in the units the model sees (normalised).
        reconstruction: The prediction.
        pixel_mask: True where hidden.

    Returns:
        In float32, or float64 if either input is: also under autocast.
    """
    dtype = torch.promote_types(images.dtype, reconstruction.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    error = (images.to(dtype) - reconstruction.to(dtype)).abs()
    return (error * pixel_mask.unsqueeze(1)).sum(dim=(1, 2, 3))


def masked_error_sum(
    images: Float[Tensor, "batch chans height width"],
    reconstruction: Float[Tensor, "batch chans height width"],
    pixel_mask: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Sum the absolute error over all hidden pixels and channels of the batch.

    Sums of micro-batches add up, which means of means do not: divide by the hidden pixels of the
    whole global batch with :func:`masked_mean`.
    """
    return masked_error_per_image(images, reconstruction, pixel_mask).sum()


def masked_mean(
    error_sum: Float[Tensor, "*shape"], num_masked_px: Tensor | int, in_chans: int
) -> Float[Tensor, "*shape"]:
    """Divide summed errors by the hidden pixels and the channels they were summed over.

    Args:
        error_sum: From :func:`masked_error_sum`, or several added up.
        num_masked_px: Hidden pixels in the same images, not counting channels.
        in_chans: Image channels.
    """
    if isinstance(num_masked_px, Tensor):
        num_masked_px = num_masked_px.to(error_sum.dtype)
    return error_sum / (num_masked_px + _EPSILON) / in_chans


def masked_loss(
    images: Float[Tensor, "batch chans height width"],
    reconstruction: Float[Tensor, "batch chans height width"],
    pixel_mask: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Return the mean absolute error over the hidden pixels.

    Source:
        SimMIM, section 3.4 (arXiv:2111.09886), and its code, models/simmim.py.
    """
    error_sum = masked_error_sum(images, reconstruction, pixel_mask)
    return masked_mean(error_sum, pixel_mask.sum(), images.shape[1])
