"""What keeps fine-tuning from learning its images by heart: mixup, CutMix, smoothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssl_swin.draw import Purpose, raw


class Mixture(NamedTuple):
    """How a share is mixed."""

    own: float  # part that an image keeps of itself
    box: tuple[slice, slice] | None  # rows and columns that CutMix replaces; None for mixup


@dataclass(frozen=True)
class Regularisation:
    """Mixes and smooths a rank's share; `mixup` and `cutmix` are alphas, 0 for none."""

    seed: int
    num_classes: int
    mixup: float
    cutmix: float
    label_smoothing: float

    def __call__(
        self,
        pixels: Callable[[int, int], Tensor],
        label: Tensor,
        part: tuple[int, int],
        step: int,
        rank: int,
    ) -> tuple[Tensor, Tensor]:
        """Return images and soft targets (batch, num_classes) of a part [start, stop) of a share.

        In a share of `num` images, the image `i` is mixed with `num - 1 - i`, wherever that is;
        without the last one, if their number is odd: it stays as it is.

        Args:
            pixels: Makes the normalised images of such a part.
            label: Of the whole share, int64 (num,); or float64 (num, num_classes), 1 where an image
                has a class.
            part: Start and stop.
            step: Of the run; a mixture is drawn for each step and rank.
            rank: Whose share it is.

        Source:
            timm's Mixup in batch mode, probability 1, switch 0.5, drawn within the rank's share.
        """
        (start, stop), even = part, len(label) // 2 * 2
        images, targets = pixels(start, stop), self._smooth(label[start:stop])
        num = min(stop, even) - start
        if num > 0 and (self.mixup or self.cutmix):
            mixture = self.draw(images.shape[-2], images.shape[-1], step, rank)
            first, last = even - start - num, even - start  # of the images to mix with, backwards
            _mix(images[:num], images[:num] if first == start else pixels(first, last), mixture)
            own, other = self._soft(label[start : start + num]), self._soft(label[first:last])
            targets[:num] = own * mixture.own + other.flip(0) * (1.0 - mixture.own)
        return images, targets.to(images.dtype)

    def draw(self, height: int, width: int, step: int, rank: int) -> Mixture:
        """Draw how a share of images of this size is mixed, as timm draws from NumPy's globals."""
        seed = int(raw(2, Purpose.MIXUP, self.seed, step, rank)[1] % np.uint64(2**32))
        numbers = np.random.RandomState(seed)  # timm's generator
        numbers.random_sample()  # timm compares it with the probability, 1
        cut = numbers.random_sample() < 0.5 if self.mixup and self.cutmix else bool(self.cutmix)
        alpha = self.cutmix if cut else self.mixup
        own = float(numbers.beta(alpha, alpha))
        if not cut or own == 1:
            return Mixture(own, None)
        box = []
        for side in (height, width):
            length, centre = int(side * np.sqrt(1 - own)), numbers.randint(side)
            box.append(slice(max(centre - length // 2, 0), min(centre + (length + 1) // 2, side)))
        (top, bottom), (left, right) = ((one.start, one.stop) for one in box)
        return Mixture(1 - (bottom - top) * (right - left) / (height * width), (box[0], box[1]))

    def _smooth(self, label: Tensor) -> Tensor:
        """Return the targets of images that are not mixed, float64."""
        rest = self.label_smoothing
        if label.ndim == 2:  # several classes, each of them there or not; or numbers
            return label.double() * (1 - rest) + rest / 2
        one_hot = functional.one_hot(label, self.num_classes)
        return one_hot.double() * (1 - rest) + rest / self.num_classes

    def _soft(self, label: Tensor) -> Tensor:
        """Return the targets that are mixed, which timm has in torch's default precision."""
        return self._smooth(label).to(torch.get_default_dtype())


def _mix(images: Tensor, others: Tensor, mixture: Mixture) -> None:
    """Mix images, in place, with others, the last of these with the first."""
    if mixture.box is not None:
        rows, cols = mixture.box
        images[:, :, rows, cols] = others[:, :, rows, cols].flip(0)
    elif mixture.own != 1:
        others = others.flip(0).mul_(1 - mixture.own)
        images.mul_(mixture.own).add_(others)
