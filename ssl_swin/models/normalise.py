"""uint8 pixels -> the network's numbers, on the device."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn


class Normalisation(nn.Module):
    """Bring uint8 images to `(pixels / 255 - mean) / std`, channel by channel, and back.

    Mean and deviation, those of ImageNet unless others are given, are of pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
    ) -> None:
        super().__init__()
        # Not saved: they are settings of the run, written in its config and its card.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(
        self, images: UInt8[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Return the images as the network wants them, in the precision of its weights."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    def undo(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> UInt8[Tensor, "batch chans height width"]:
        """Return the images as pixels again, clipped to what uint8 can hold."""
        pixels = (images * self.std + self.mean) * 255
        return pixels.round().clamp(0, 255).to(torch.uint8)
