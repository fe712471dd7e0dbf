"""Pretraining as Lightning sees it: mask, reconstruct, and the loss over the global batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.pixels.picture import Stretch
from ssl_swin.models.encoder import pooled, pooled_stages
from ssl_swin.models.losses import hidden_px, masked_error_per_image, masked_mean
from ssl_swin.models.masking import Mask, count_hidden, random_mask, to_pixels
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.optim import pretrain_groups


@dataclass(frozen=True)
class Masking:
    """How masks are drawn: patch size in pixels, patches to each side, share hidden, seed, kind."""

    mask_patch_size: int
    grid: tuple[int, int]
    mask_ratio: float
    seed: int
    kind: Mask = random_mask

    def __post_init__(self) -> None:
        count_hidden(self.grid, self.mask_ratio)  # refuses what no image can be masked with

    def draw(self, index: Tensor, epoch: Tensor | int) -> Tensor:
        """Return the masks of these images, bool (batch, rows, cols)."""
        return self.kind(index, epoch, self.seed, self.grid, self.num_hidden)

    @property
    def num_hidden(self) -> int:
        """Mask patches hidden in each image."""
        return count_hidden(self.grid, self.mask_ratio)

    @property
    def hidden_px(self) -> int:
        """Pixels hidden in each image."""
        return self.num_hidden * self.mask_patch_size**2


class Reconstruction(NamedTuple):
    """What a network makes of images, on its device; all as pictures, (batch, 1 or 3, ...)."""

    images: Tensor  # uint8 (batch, 1 or 3, height, width); those of bands are stretched
    pixels: Tensor  # uint8, as the images; where another target is predicted, that, scaled likewise
    target: Tensor  # uint8; the images themselves, unless the target is another
    mask: Tensor  # bool (batch, rows, cols), True where hidden
    loss: Tensor  # (batch,) of each image, over its hidden pixels


class PretrainModule(Learner):
    """SimMIM; its loss is divided by the hidden pixels of the whole global batch."""

    network: SimMIM

    def __init__(
        self, simmim: SimMIM, normalise: Normalisation, masking: Masking, schedule: Schedule
    ) -> None:
        super().__init__(simmim, normalise, schedule)
        self.masking = masking
        self._num_px: Tensor | None = None  # hidden, of a step's global batch, if images lack some

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the official groups of pretraining."""
        return pretrain_groups(self.network, self.schedule.weight_decay)

    def loss(self, micro: Batch) -> Tensor:
        """Return the masked error of these images over the hidden pixels of the global batch."""
        images, there = self.normalise(micro["image"]), self.normalise.there(micro["image"])
        mask = self.masking.draw(micro["index"], micro["epoch"])
        error_sum = self.network.error_sum(images, mask, there)
        if self._num_px is not None:
            return masked_mean(error_sum, self._num_px, images.shape[1])
        hidden_px = self.schedule.global_batch_size * self.masking.hidden_px
        return masked_mean(error_sum, hidden_px, images.shape[1])

    def before_step(self, share: Batch) -> None:
        """Count the hidden pixels of the global batch, where images may lack some."""
        there = self.normalise.there(share["image"])
        if there is None:
            return
        mask = self.masking.draw(share["index"], share["epoch"])
        num = hidden_px(to_pixels(mask, self.masking.mask_patch_size), there).sum()
        self._num_px = self.trainer.strategy.reduce(num, reduce_op="sum")

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the held-out masked loss, summed over images, with the masks of epoch 0."""
        mask = self.masking.draw(batch["index"], epoch=0)
        images, there = self.normalise(batch["image"]), self.normalise.there(batch["image"])
        error = self.network.error_per_image(images, mask, there)
        return {"heldout_loss": error.double().sum()}

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of the last stage over all positions, (batch, channels), nothing hidden.

        Images are uint8 (batch, chans, height, width), on the device.
        """
        encoder = self.network.encoder
        return pooled(encoder, encoder(self.normalise(images)))

    def features_of_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Return the same of each stage, (batch, channels), as `pooled_stages`, and of the last."""
        return pooled_stages(self.network.encoder, self.normalise(images))

    def reconstruct(self, images: Tensor, index: Tensor) -> Reconstruction:
        """Return what is made of images with the masks of epoch 0, for pictures."""
        network, normalised = self.network, self.normalise(images)
        there = self.normalise.there(images)
        mask = self.masking.draw(index, epoch=0)
        rebuilt, target = network.reconstruct(normalised, mask), network.target(normalised)
        hidden = to_pixels(mask, self.masking.mask_patch_size)
        sums = masked_error_per_image(target, rebuilt, hidden, network.loss, there)
        num_px = self.masking.hidden_px if there is None else hidden_px(hidden, there)

        pixels = self._as_pictures(normalised, there)
        shown = images if self.normalise.of_colours else pixels(normalised)
        return Reconstruction(
            shown,
            pixels(rebuilt),
            shown if target is normalised else pixels(target),
            mask,
            masked_mean(sums, num_px, images.shape[1]),
        )

    def _as_pictures(self, normalised: Tensor, there: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Return what turns normalised numbers into uint8 (batch, 1 or 3, height, width)."""
        if self.normalise.of_colours:
            return lambda numbers: self.normalise.undo(numbers.to(self.normalise.mean.dtype))

        def last(numbers: Tensor) -> np.ndarray:
            numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
            return numbers.permute(0, 2, 3, 1).cpu().numpy()

        stretch = Stretch.of(last(normalised), None if there is None else last(there) > 0)
        return lambda numbers: torch.from_numpy(stretch(last(numbers))).permute(0, 3, 1, 2)
