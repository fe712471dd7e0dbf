"""What a fine-tuning is: how it learns its classes."""

import math
from dataclasses import dataclass
from typing import Literal

from ssl_swin.config.settings import require, require_all


@dataclass(frozen=True)
class FinetuningConfig:
    """How a fine-tuning learns its classes."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """What is minimised; focal: images that are right already count less."""
    focal_gamma: float = 2.0
    """Of the focal loss: the power of one minus the probability, 0 or more; 0: cross-entropy."""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] | dict[str, float] = "none"
    """What a class counts in the loss. balanced: one over its share of the training images, so that
    all classes count alike; [1, 2.5, ...]: a number for each class; {cat: 2.5, ...}: for these, and
    1 for the others."""
    freeze: int | Literal["encoder"] = 0
    """What is not trained: so many stages, from the first, with the stem; or encoder: all but the
    head."""
    head_epochs: int = 0
    """Epochs at the start that train the head alone, then all that is not frozen, on one
    learning-rate curve; less than optim.epochs."""

    def __post_init__(self) -> None:
        self._check_weights()
        frozen = () if self.freeze == "encoder" else ("freeze",)
        require_all("be 0 or more", "finetune", self, "focal_gamma", "head_epochs", *frozen)
        require(
            self.freeze != "encoder" or not self.head_epochs,
            f"finetune.head_epochs={self.head_epochs} needs more to train later than the head: "
            "leave it out, or finetune.freeze=encoder",
        )

    def _check_weights(self) -> None:
        """Refuse weights that no loss can have."""
        given = self.class_weights
        if isinstance(given, str):
            return
        if isinstance(given, dict):  # YAML may take the name of a class for a number
            given = {str(name): weight for name, weight in given.items()}
            object.__setattr__(self, "class_weights", given)
        weights = [*(given.values() if isinstance(given, dict) else given)]
        fits = all(math.isfinite(one) and one >= 0 for one in weights)
        require(
            fits and any(weights),
            f"finetune.class_weights={given} must be numbers of 0 or more, and not all 0",
        )
