"""What a target is: a function of images, the grid its numbers live on, and what it can tell."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ssl_swin.errors import UserError


def _as_many(in_chans: int) -> int:
    return in_chans


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be predicted of images; alone it is what is predicted of each pixel.

    It holds no weight that is trained or saved.
    """

    compute: Callable[[Tensor], Tensor]
    """Normalised images (batch, chans, height, width) -> (batch, num_chans, rows, cols)."""
    cell_size: int = 1
    """Pixels of the image to a side of a position: ``rows = height / cell_size``."""
    num_chans: Callable[[int], int] = _as_many
    """Numbers at a position, of images with so many channels."""
    is_picture: bool = True
    """Whether the numbers at a position are those of a pixel, so that they can be shown."""
    reach: int = 0
    """Pixels around a position's own that its numbers come from, too."""
    pooled: bool = False
    """Whether all of an image is one position, whatever the size of a cell."""

    def __call__(
        self, images: Float[Tensor, "batch chans height width"]
    ) -> Float[Tensor, "batch num_chans rows cols"]:
        """Return what is to be predicted."""
        return self.compute(images)

    def known(
        self, there: Bool[Tensor, "batch chans height width"]
    ) -> Bool[Tensor, "batch _ rows cols"]:
        """Say which numbers of the target come of numbers that are there alone.

        Of pixels each channel is for itself. Otherwise a position has one answer for all channels:
        nothing is missing below it, nor within its reach. That of all of an image is known where
        it holds any number.
        """
        if self.pooled:
            return there.flatten(1).any(1)[:, None, None, None]
        if self.cell_size == 1 and not self.reach:
            return there
        missing = (~there).any(1, keepdim=True).float()  # (batch, 1, height, width)
        side = self.cell_size + 2 * self.reach
        return functional.max_pool2d(missing, side, self.cell_size, self.reach) == 0


def as_target(target: Target | Callable[[Tensor], Tensor]) -> Target:
    """Return a target; a plain function is one of pixels."""
    return target if isinstance(target, Target) else Target(target)


def require_cells(cell_size: int, what: str) -> None:
    """Refuse cells without a pixel.

    Raises:
        UserError: If there is no pixel to a side.
    """
    if cell_size < 1:
        raise UserError(f"{what} of cells of {cell_size} pixels: give 1 or more to a side")
