"""What is done to an image before the network sees it, every draw a function of its index."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import exp, log, sqrt

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssl_swin.data.draw import Purpose, normals, seeded_globals, uniforms

INTERPOLATION = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Transform = Callable[[Image.Image, int, int], Image.Image]


def crop_box(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    *key: int,
) -> tuple[int, int, int, int]:
    """Draw a random resized crop: (left, top, right, bottom) in pixels.

    Ten tries, then the largest centred crop whose aspect ratio is allowed.

    Args:
        size: Width and height of the image in pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height.
        key: What the draw depends on.

    Source:
        torchvision's RandomResizedCrop; the numbers come from `draw` instead of torch's generator.
    """
    width, height = size
    numbers = uniforms(40, Purpose.CROP, *key).reshape(10, 4)
    for area_u, ratio_u, left_u, top_u in numbers:
        area = width * height * (scale[0] + (scale[1] - scale[0]) * area_u)
        aspect = exp(log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * ratio_u)
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(left_u * (width - w + 1)), int(top_u * (height - h + 1))
            return left, top, left + w, top + h
    if width / height < ratio[0]:
        w, h = width, max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w, h = max(1, round(height * ratio[1])), height
    else:
        w, h = width, height
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@dataclass(frozen=True)
class TrainTransform:
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
        from timm.data.auto_augment import rand_augment_transform

        return rand_augment_transform(
            self.rand_augment,
            {
                "translate_const": int(self.img_size * 0.45),
                "img_mean": tuple(min(255, round(255 * value)) for value in self.mean),
                "interpolation": INTERPOLATION[self.interpolation],
            },
        )

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Return the image cropped, resized, perhaps flipped and augmented."""
        box = crop_box(image.size, self.scale, self.ratio, self.seed, epoch, index)
        image = image.crop(box).resize(
            (self.img_size, self.img_size), INTERPOLATION[self.interpolation]
        )
        if uniforms(1, Purpose.FLIP, self.seed, epoch, index)[0] < self.hflip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.rand_augment:
            with seeded_globals(Purpose.RAND_AUGMENT, self.seed, epoch, index):
                image = self._policy(image)
        return image


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize the short side to `img_size / crop_pct`, bicubic, and take the centre.

    Source:
        SimMIM fine-tuning: crop_pct 0.875 gives 256 for 224 pixels and 219 for 192.
    """

    img_size: int
    crop_pct: float = 0.875

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:  # noqa: ARG002
        """Return the centre of the image; nothing is drawn."""
        short = int(self.img_size / self.crop_pct)
        width, height = image.size
        if width <= height:
            size = short, int(short * height / width)
        else:
            size = int(short * width / height), short
        image = image.resize(size, Image.Resampling.BICUBIC) if size != image.size else image
        left, top = round((size[0] - self.img_size) / 2), round((size[1] - self.img_size) / 2)
        return image.crop((left, top, left + self.img_size, top + self.img_size))


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
