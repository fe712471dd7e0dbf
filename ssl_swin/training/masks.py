"""How the masks of a run are drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_swin.models.masking import Mask, hidden_by, random_mask


@dataclass(frozen=True)
class Masking:
    """How masks are drawn: patch size in pixels, patches to each side, share hidden, seed, kind.

    With `one_for_all` a mask is a function of seed and step alone, and that of all its images.
    """

    mask_patch_size: int
    grid: tuple[int, int]
    mask_ratio: float
    seed: int
    kind: Mask = random_mask
    one_for_all: bool = False

    def __post_init__(self) -> None:
        assert self.num_hidden >= 0  # or it refuses what no image can be masked with

    def draw(self, index: Tensor, epoch: Tensor | int, step: int | None = None) -> Tensor:
        """Return the masks of these images, bool (batch, rows, cols), of a step or of none.

        One for all is on the CPU, where it is looked at without waiting for the device.
        """
        how = self.seed, self.grid, self.num_hidden
        if not self.one_for_all:
            return self.kind(index, epoch, *how)
        number = 0 if step is None else step + 1
        return self.kind(torch.tensor([number]), 0, *how).expand(len(index), -1, -1)

    @property
    def num_hidden(self) -> int:
        """Mask patches hidden in each image."""
        return hidden_by(self.kind, self.grid, self.mask_ratio)
