"""What is done to an image before it is put into a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from ssl_swin.data.pixels.crop import INTERPOLATION, Crop, centre_crop, crop_box, cut
from ssl_swin.data.pixels.decode import sides
from ssl_swin.data.pixels.erasing import Box, erased_box
from ssl_swin.draw import Purpose, integer, seeded_globals, uniforms


class Transform(ABC):
    """What is done to an image: crop, resize, flip, then perhaps other colours.

    Every random choice is a pure function of the seed, the epoch and the image's place in the set.
    """

    img_size: int | tuple[int, int]
    """Both sides of the result, or its rows and columns, pixels."""

    @property
    def changes_colours(self) -> bool:
        """Whether `finish` does anything."""
        return False

    @property
    def erases(self) -> bool:
        """Whether rectangles of images are erased."""
        return False

    def erased(self, size: tuple[int, int], epoch: int, index: int) -> Box:  # noqa: ARG002
        """Return what is erased of the result, of this height and width."""
        return 0, 0, 0, 0

    @abstractmethod
    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:
        """Return the crop of an image of this width and height, pixels."""

    def finish(self, image: Image.Image, epoch: int, index: int) -> Image.Image:  # noqa: ARG002
        """Return the cropped and resized image with its colours changed."""
        return image

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Crop, resize, flip and change colours by Pillow: the reference."""
        return self.finish(cut(image, self.crop(image.size, epoch, index)), epoch, index)


def posterize(image: Image.Image, num_bits: int, **_: object) -> Image.Image:
    """Keep the highest bits of each channel; of none, or fewer, black is left.

    Source:
        Pillow's `ImageOps.posterize` before version 13, whose pixels every version gets here.
    """
    if num_bits >= 8:
        return image
    mask = 256 - 2 ** (8 - max(num_bits, 0))
    return image.point([level & mask for level in range(256)] * len(image.getbands()))


@dataclass(frozen=True)
class TrainTransform(Transform):
    """Random resized crop, horizontal flip and, when fine-tuning, timm's RandAugment.

    Attributes:
        seed: Of all draws.
        img_size: Both sides of the result, or its rows and columns, pixels.
        scale: Range of the cropped area's share.
        ratio: Range of the crop's width over height, relative to that of the result.
        interpolation: "bilinear" (SimMIM's pretraining) or "bicubic" (its fine-tuning).
        hflip: Probability of a horizontal flip.
        vflip: Probability of a vertical flip.
        quarter_turns: Whether images are turned by 0, 1, 2 or 3 right angles, each as often.
        rand_augment: timm's policy string, for example "rand-m9-mstd0.5-inc1"; empty for none.
        mean: Per-channel mean in [0, 1]; RandAugment fills what it uncovers with it.
        erasing: Probability that a rectangle is erased; the device fills it.
    """

    seed: int = 0
    img_size: int | tuple[int, int] = 224
    scale: tuple[float, float] = (0.67, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    hflip: float = 0.5
    vflip: float = 0.0
    quarter_turns: bool = False
    rand_augment: str = ""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    erasing: float = 0.0

    @cached_property
    def _policy(self) -> Callable[[Image.Image], Image.Image]:
        # late: seconds, only this needs it
        from timm.data.auto_augment import rand_augment_transform

        settings = {
            "translate_const": int(max(sides(self.img_size)) * 0.45),
            "img_mean": tuple(min(255, round(255 * value)) for value in self.mean),
            "interpolation": INTERPOLATION[self.interpolation],
        }
        policy = rand_augment_transform(self.rand_augment, settings)
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

    @property
    def erases(self) -> bool:
        """Whether the probability is above 0."""
        return self.erasing > 0

    def erased(self, size: tuple[int, int], epoch: int, index: int) -> Box:
        """Draw what is erased."""
        return erased_box(size, self.erasing, self.seed, epoch, index)

    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:
        """Draw the random resized crop, and how it is mirrored and turned."""
        key, (rows, cols) = (self.seed, epoch, index), sides(self.img_size)
        turns = integer(4, Purpose.QUARTER_TURNS, *key) if self.quarter_turns else 0
        rows, cols = (cols, rows) if turns % 2 else (rows, cols)  # before it is turned
        low, high = (one * (cols / rows) for one in self.ratio)
        box = crop_box(size, self.scale, (low, high), *key)
        flip = uniforms(1, Purpose.FLIP, *key)[0] < self.hflip
        vflip = self.vflip > 0 and uniforms(1, Purpose.VFLIP, *key)[0] < self.vflip
        window = 0, 0, cols, rows
        return Crop(box, (cols, rows), window, self.interpolation, bool(flip), bool(vflip), turns)

    def finish(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """Apply RandAugment, if there is a policy."""
        if not self.rand_augment:
            return image
        with seeded_globals(Purpose.RAND_AUGMENT, self.seed, epoch, index):
            return self._policy(image)


@dataclass(frozen=True)
class EvaluationTransform(Transform):
    """The centre of an image, as evaluation takes it: `crop.centre_crop`.

    Attributes:
        img_size: Both sides of the result, or its rows and columns, pixels.
        crop_pct: Share of the resized image's short side that the centre takes.
        interpolation: "bicubic", as in SimMIM's fine-tuning, or "bilinear".
    """

    img_size: int | tuple[int, int] = 224
    crop_pct: float = 0.875
    interpolation: str = "bicubic"

    def crop(self, size: tuple[int, int], epoch: int, index: int) -> Crop:  # noqa: ARG002
        """Return the centre; nothing is drawn."""
        return centre_crop(size, self.img_size, self.crop_pct, self.interpolation)
