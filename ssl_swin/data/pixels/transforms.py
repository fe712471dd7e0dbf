"""What is done to an image before the network sees it, every draw a function of its index."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, floor, log, sqrt
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ssl_swin.data.pixels.decode import Region
from ssl_swin.draw import Purpose, seeded_globals, uniforms

INTERPOLATION = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


LARGEST_RESIZED_PX = 2**28 // 3  # as many as Pillow opens without a warning


class Crop(NamedTuple):
    """Which part of an upright image becomes the network's, in pixels."""

    box: tuple[int, int, int, int]
    """Left, top, right and bottom in the image."""
    size: tuple[int, int]
    """Width and height that the box is resized to."""
    window: tuple[int, int, int, int]
    """What is kept of that."""
    interpolation: str
    """A key of `INTERPOLATION`."""
    flip: bool = False
    """Mirror left and right, last."""


class Transform(ABC):
    """What is done to an image; it depends on its size, the epoch and its place, nothing else."""

    @property
    def changes_colours(self) -> bool:
        """Whether `finish` does anything."""
        return False

    @abstractmethod
    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:
        """Draw the crop of an image of this width and height."""

    def finish(self, image: Image.Image, epoch: int, index: int) -> Image.Image:  # noqa: ARG002
        """Return the cropped and resized image with its colours changed."""
        return image

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Do all of it by Pillow: the reference."""
        return self.finish(cut(image, self.crop(image.size, epoch, index)), epoch, index)


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """Crop, resize and flip by Pillow: the reference."""
    if crop.box != (0, 0, *image.size):
        image = image.crop(crop.box)
    if crop.size != image.size:
        image = image.resize(crop.size, INTERPOLATION[crop.interpolation])
    if crop.window != (0, 0, *crop.size):
        image = image.crop(crop.window)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.flip else image


def cut_region(region: Region, crop: Crop) -> np.ndarray:
    """Resize and flip the decoded pixels of `crop.box`: the fast way.

    At full scale by torch, in a third of Pillow's time; two passes of rounding differ by a level.
    At smaller scales by Pillow, because only it takes a box between pixels.

    Returns:
        uint8 (height, width, chans); a view, for torch is fastest with channels last, too.
    """
    pixels, box = region
    if box != (0, 0, *pixels.shape[1::-1]):
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        image = image.resize(crop.size, INTERPOLATION[crop.interpolation], box)
        pixels = np.array(image).reshape(*crop.size[::-1], -1)
    elif crop.size != pixels.shape[1::-1]:
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, chans, height, width)
        images = interpolate(images, crop.size[::-1], mode=crop.interpolation, antialias=True)
        pixels = images[0].permute(1, 2, 0).numpy()
    left, top, right, bottom = crop.window
    pixels = pixels[top:bottom, left:right]
    # By torch: copying NumPy's mirrored view takes ten times as long.
    return torch.from_numpy(pixels).flip(1).numpy() if crop.flip else pixels


def posterize(image: Image.Image, num_bits: int, **_: object) -> Image.Image:
    """Keep the highest bits of each channel; of none, or fewer, black is left.

    Source:
        Pillow's `ImageOps.posterize` before version 13, whose pixels every version gets here.
    """
    if num_bits >= 8:
        return image
    mask = 256 - 2 ** (8 - max(num_bits, 0))
    return image.point([level & mask for level in range(256)] * len(image.getbands()))


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
    for area_u, ratio_u, left_u, top_u in numbers.tolist():
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
        from timm.data.auto_augment import rand_augment_transform

        policy = rand_augment_transform(
            self.rand_augment,
            {
                "translate_const": int(self.img_size * 0.45),
                "img_mean": tuple(min(255, round(255 * value)) for value in self.mean),
                "interpolation": INTERPOLATION[self.interpolation],
            },
        )
        # timm asks Pillow for 0 bits and fewer, which Pillow 13 refuses. Changed in this policy
        # alone, after its levels are set: no draw moves, nor what others get from the two modules.
        for operation in policy.ops:
            if operation.name.startswith("Posterize"):
                operation.aug_fn = posterize
        return policy

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
    """Resize the short side to `img_size / crop_pct`, bicubic, and take the centre.

    Source:
        SimMIM fine-tuning: crop_pct 0.875 gives 256 for 224 pixels and 219 for 192. Of an image so
        long that it would not fit into memory, only what is kept is resized.
    """

    img_size: int
    crop_pct: float = 0.875

    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:  # noqa: ARG002
        """Return the centre; nothing is drawn."""
        short = int(self.img_size / self.crop_pct)
        width, height = size
        if width <= height:
            resized = short, int(short * height / width)
        else:
            resized = int(short * width / height), short
        left, top = (round((side - self.img_size) / 2) for side in resized)
        window = left, top, left + self.img_size, top + self.img_size
        if resized[0] * resized[1] > LARGEST_RESIZED_PX:
            box = _outwards(window, resized, size)
            whole = self.img_size, self.img_size
            return Crop(box, whole, (0, 0, *whole), "bicubic")
        return Crop((0, 0, width, height), resized, window, "bicubic")


def _outwards(
    window: tuple[int, int, int, int], resized: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the whole pixels of an image that a window of the resized image lies in."""
    x, y = size[0] / resized[0], size[1] / resized[1]
    left, top = max(0, floor(window[0] * x)), max(0, floor(window[1] * y))
    return left, top, min(size[0], ceil(window[2] * x)), min(size[1], ceil(window[3] * y))
