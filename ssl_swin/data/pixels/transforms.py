"""What is done to an image before it is put into a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import exp, log, sqrt

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssl_swin.data.pixels.crop import INTERPOLATION, Crop, centre_crop, crop_box, cut
from ssl_swin.draw import Purpose, normals, seeded_globals, uniforms


class Transform(ABC):
    """What is done to an image: crop, resize, flip, then perhaps other colours.

    Every random choice is a pure function of the seed, the epoch and the image's place in the set.
    """

    @property
    def changes_colours(self) -> bool:
        """Whether `finish` does anything."""
        return False

    @abstractmethod
    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:
        """Return the crop of an image of this width and height, pixels."""

    def finish(self, image: Image.Image, epoch: int, index: int) -> Image.Image:  # noqa: ARG002
        """Return the cropped and resized image with its colours changed."""
        return image

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Crop, resize, flip and change colours by Pillow: the reference."""
        return self.finish(cut(image, self.crop(image.size, epoch, index)), epoch, index)


@dataclass(frozen=True)
class TrainTransform(Transform):
    """Random resized crop, horizontal flip and, when fine-tuning, timm's RandAugment.

    Attributes:
        seed: The run's seed.
        img_size: Height and width of the result, pixels.
        scale: Range of the cropped area's share.
        ratio: Range of the crop's width over height.
        interpolation: "bilinear" (SimMIM's pretraining) or "bicubic" (its fine-tuning).
        hflip: Probability of a horizontal flip.
        rand_augment: timm's policy string, for example "rand-m9-mstd0.5-inc1"; empty for none.
        mean: Per-channel mean in [0, 1]; RandAugment fills what it uncovers with it.
    """

    seed: int
    img_size: int
    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    hflip: float = 0.5
    rand_augment: str = ""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)

    @cached_property
    def _policy(self) -> Callable[[Image.Image], Image.Image]:
        from timm.data.auto_augment import (
            rand_augment_transform,
        )  # late: seconds, only this needs it

        return rand_augment_transform(
            self.rand_augment,
            {
                "translate_const": int(self.img_size * 0.45),
                "img_mean": tuple(min(255, round(255 * value)) for value in self.mean),
                "interpolation": INTERPOLATION[self.interpolation],
            },
        )

    @property
    def changes_colours(self) -> bool:
        """Whether there is a RandAugment policy."""
        return bool(self.rand_augment)

    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:
        """Draw the random resized crop and the flip."""
        key = self.seed, epoch, index
        side = self.img_size
        box = crop_box(size, self.scale, self.ratio, *key)
        flip = uniforms(1, Purpose.FLIP, *key)[0] < self.hflip
        return Crop(box, (side, side), (0, 0, side, side), self.interpolation, bool(flip))

    def finish(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Apply RandAugment, if there is a policy."""
        if not self.rand_augment:
            return image
        with seeded_globals(Purpose.RAND_AUGMENT, self.seed, epoch, index):
            return self._policy(image)


@dataclass(frozen=True)
class EvaluationTransform(Transform):
    """The centre of an image, as `crop.centre_crop` takes it.

    Attributes:
        img_size: Height and width of the result, pixels.
        crop_pct: Share of the resized short side that is kept.
    """

    img_size: int
    crop_pct: float = 0.875

    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:  # noqa: ARG002
        """Return the centre; nothing is drawn."""
        return centre_crop(size, self.img_size, self.crop_pct)


def random_erasing(
    images: Tensor, index: Tensor, epoch: Tensor | int, seed: int, probability: float
) -> Tensor:
    """Replace one rectangle of some images by noise, in place, and return them.

    Args:
        images: Normalised images, float (batch, chans, height, width).
        index: Each image's place in the shard set, int64 (batch,).
        epoch: Counted from 0, one for all or one for each image.
        seed: The run's seed.
        probability: Share of images erased.

    Source:
        timm's RandomErasing in "pixel" mode, count 1, as SimMIM's fine-tuning uses it. Area 0.02
        to 1/3, aspect 0.3 to 1/0.3, ten tries; every draw depends on the image alone.
    """
    _, chans, height, width = images.shape
    epochs = torch.as_tensor(epoch).expand(len(index)).tolist()
    for place, (sample, number) in enumerate(zip(index.tolist(), epochs, strict=True)):
        key = (Purpose.ERASING, seed, number, sample)
        numbers = uniforms(41, *key)
        if numbers[40] >= probability:
            continue
        for area_u, aspect_u, top_u, left_u in numbers[:40].reshape(10, 4):
            area = (0.02 + (1 / 3 - 0.02) * area_u) * height * width
            aspect = exp(log(0.3) * (1 - 2 * aspect_u))
            h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = int(top_u * (height - h + 1)), int(left_u * (width - w + 1))
                noise = normals(chans * h * w, *key, 1).astype(np.float32).reshape(chans, h, w)
                images[place, :, top : top + h, left : left + w] = torch.from_numpy(noise)
                break
    return images
