"""What a fine-tuning is: how it learns its classes."""

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
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a class counts in the loss by one over its share of the training images, so that
    all classes count alike."""
    freeze: int | Literal["encoder"] = 0
    """What is not trained: so many stages, from the first, with the stem; or encoder: all but the
    head."""
    head_epochs: int = 0
    """Epochs at the start that train the head alone, then all that is not frozen, on one
    learning-rate curve; less than optim.epochs."""

    def __post_init__(self) -> None:
        frozen = () if self.freeze == "encoder" else ("freeze",)
        require_all("be 0 or more", "finetune", self, "focal_gamma", "head_epochs", *frozen)
        require(
            self.freeze != "encoder" or not self.head_epochs,
            f"finetune.head_epochs={self.head_epochs} needs more to train later than the head: "
            "leave it out, or finetune.freeze=encoder",
        )
