"""Pixels -> the network's numbers, on the device."""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn


class NumberSettings(Protocol):
    """What says what the numbers of images are: the settings of a run, and the card of a network.

    Without a `dtype` they are colours of 8 bits.
    """

    @property
    def mean(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def std(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> str | None: ...  # noqa: D102
    @property
    def nodata(self) -> float | None: ...  # noqa: D102


class Normalisation(nn.Module):
    """Bring uint8 images to `(pixels / 255 - mean) / std`, channel by channel, and back.

    Mean and deviation, those of ImageNet unless others are given, are of pixels in [0, 1]. Numbers
    that are taken as they are have a `scale` of 1, and mean and deviation of their own. Of these
    some may be none: `nodata`, and in fractions NaN and infinity. They become the mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
        scale: float = 255.0,
        nodata: float | None = None,
    ) -> None:
        super().__init__()
        # Not saved: they are settings of the run, written in its config and its card.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.scale, self.nodata = scale, nodata

    @classmethod
    def of(cls, settings: NumberSettings) -> "Normalisation":
        """Take it from the settings of a run, or a card."""
        told = (255.0, None) if settings.dtype is None else (1.0, settings.nodata)
        return cls(settings.mean, settings.std, *told)

    @property
    def of_colours(self) -> bool:
        """Whether images are colours of 8 bits."""
        return self.scale != 1

    def forward(
        self, images: Shaped[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Return the images as the network wants them, in the precision of its weights."""
        numbers = (images.to(self.mean.dtype) / self.scale - self.mean) / self.std
        there = self.there(images)
        return numbers if there is None else numbers.where(there, 0.0)

    def there(
        self, images: Shaped[Tensor, "batch chans height width"]
    ) -> Bool[Tensor, "batch chans height width"] | None:
        """Say which numbers of images are some; None if all are, whatever they be."""
        if not images.is_floating_point() and self.nodata is None:
            return None
        numbers = images.to(torch.promote_types(images.dtype, torch.float32))
        there = numbers.isfinite()
        if self.nodata is not None:
            there &= numbers != torch.tensor(self.nodata, dtype=images.dtype).item()  # as stored
        return there

    def undo(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> UInt8[Tensor, "batch chans height width"]:
        """Return the images as pixels again, clipped to what uint8 can hold."""
        pixels = (images * self.std + self.mean) * self.scale
        return pixels.round().clamp(0, 255).to(torch.uint8)
