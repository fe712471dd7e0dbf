"""Pretraining as Lightning sees it: mask, reconstruct, and the loss over the global batch."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ssl_swin.data.batches.batch import Batch
from ssl_swin.models.losses import masked_mean
from ssl_swin.models.masking import Mask, count_hidden, random_mask
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


class PretrainModule(Learner):
    """SimMIM; its loss is divided by the hidden pixels of the whole global batch."""

    network: SimMIM

    def __init__(
        self, simmim: SimMIM, normalise: Normalisation, masking: Masking, schedule: Schedule
    ) -> None:
        super().__init__(simmim, normalise, schedule)
        self.masking = masking

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the official groups of pretraining."""
        return pretrain_groups(self.network, self.schedule.weight_decay)

    def loss(self, micro: Batch) -> Tensor:
        """Return the masked error of these images over the hidden pixels of the global batch."""
        images = self.normalise(micro["image"])
        mask = self.masking.draw(micro["index"], micro["epoch"])
        error_sum = self.network.error_sum(images, mask)
        hidden_px = self.schedule.global_batch_size * self.masking.hidden_px
        return masked_mean(error_sum, hidden_px, images.shape[1])

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the held-out masked loss, summed over images, with the masks of epoch 0."""
        mask = self.masking.draw(batch["index"], epoch=0)
        error = self.network.error_per_image(self.normalise(batch["image"]), mask)
        return {"heldout_loss": error.double().sum()}

    def reconstruct(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction as uint8 pixels and the masks of epoch 0, for pictures."""
        mask = self.masking.draw(index, epoch=0)
        reconstruction = self.network.reconstruct(self.normalise(images), mask)
        return self.normalise.undo(reconstruction.to(self.normalise.mean.dtype)), mask
