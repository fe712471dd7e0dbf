"""What a fine-tuning minimises and measures that is no choice of one class."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from ssl_swin.evaluation.other_tasks import sums_of_classes, sums_of_numbers

NUMBER_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


@dataclass(frozen=True)
class SeveralClasses:
    """Each class is there or not: binary cross-entropy, the mean over the classes."""

    best_of = "map"

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, (batch,), for targets in [0, 1], (batch, num_classes)."""
        each = functional.binary_cross_entropy_with_logits(
            logits, target.to(logits.dtype), reduction="none"
        )
        return each.mean(dim=1)

    def measure(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return sums over images, float64; see `sums_of_classes`."""
        loss = self.losses(logits, target).sum()
        return {"heldout_loss": loss, **sums_of_classes(logits.sigmoid(), target)}


@dataclass(frozen=True)
class Numbers:
    """One or more numbers in standard form: the mean over them of one of `NUMBER_LOSSES`."""

    loss: str
    std: tuple[float, ...]
    """Standard deviation of each, in the units of the labels."""
    best_of = "r2"

    def losses(self, found: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each image, (batch,), for targets (batch, numbers)."""
        each = NUMBER_LOSSES[self.loss](found, target.to(found.dtype), reduction="none")
        return each.mean(dim=1)

    def measure(self, found: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return sums over images, float64; see `sums_of_numbers`."""
        loss = self.losses(found, target).sum()
        return {"heldout_loss": loss, **sums_of_numbers(found - target, target, self.std)}


Task = SeveralClasses | Numbers
