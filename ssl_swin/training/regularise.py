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
        smoothing, num_classes = self.label_smoothing, self.num_classes
        targets = functional.one_hot(batch["label"], num_classes).double() * (1 - smoothing)
        targets = (targets + smoothing / num_classes).to(images.dtype)
        even = len(images) // 2 * 2
        if even and (self.mixup or self.cutmix):
            soft_labels = {"label_smoothing": smoothing, "num_classes": num_classes}
            mix = Mixup(mixup_alpha=self.mixup, cutmix_alpha=self.cutmix, **soft_labels)
            with seeded_globals(Purpose.MIXUP, self.seed, step, rank):
                mixed, soft = mix(images[:even], batch["label"][:even])
            images[:even], targets[:even] = mixed, soft.to(images.dtype)
        return images, targets


def random_erasing(
    images: Tensor, index: Tensor, epoch: Tensor | int, seed: int, probability: float
) -> Tensor:
    """Replace one rectangle of some images by noise, in place, and return them.

    The images are normalised, float (batch, chans, height, width); index is int64 (batch,), epoch
    one for all images or one for each; `probability` is the share of images erased.

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
