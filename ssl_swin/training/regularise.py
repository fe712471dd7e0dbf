"""What keeps fine-tuning from learning its images by heart: erasing, mixup, CutMix, smoothing."""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import torch
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional

from ssl_swin.data.batches.batch import Batch
from ssl_swin.draw import Purpose, normals, seeded_globals, uniforms


@dataclass(frozen=True)
class Regularisation:
    """Erases, mixes and smooths a rank's share; `mixup` and `cutmix` are alphas, 0 for none."""

    seed: int
    num_classes: int
    erasing: float
    mixup: float
    cutmix: float
    label_smoothing: float

    def __call__(self, images: Tensor, batch: Batch, step: int, rank: int) -> tuple[Tensor, Tensor]:
        """Return images and soft targets (batch, num_classes).

        Source:
            timm's Mixup in batch mode, probability 1, switch 0.5, drawn within the rank's share. An
            odd share, which timm refuses, keeps its last image unmixed.
        """
        if self.erasing:
            images = random_erasing(images, batch["index"], batch["epoch"], self.seed, self.erasing)
        targets = self._smooth(batch["label"]).to(images.dtype)
        even = len(images) // 2 * 2
        if even and (self.mixup or self.cutmix):
            mix = Mixup(
                mixup_alpha=self.mixup,
                cutmix_alpha=self.cutmix,
                label_smoothing=self.label_smoothing,
                num_classes=self.num_classes,
            )
            with seeded_globals(Purpose.MIXUP, self.seed, step, rank):
                mixed, soft = mix(images[:even], batch["label"][:even])
            images[:even], targets[:even] = mixed, soft.to(images.dtype)
        return images, targets

    def _smooth(self, label: Tensor) -> Tensor:
        targets = functional.one_hot(label, self.num_classes).double()
        return targets * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes


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
