"""What a run is: the optimiser and its learning rate."""

from dataclasses import dataclass
from typing import Literal

from ssl_swin.config.settings import require, require_all


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its learning-rate curve; rates are per 512 images of the global batch."""

    epochs: int = 100
    """Times the data is seen."""
    warmup_epochs: float = 10
    """Epochs of linear warm-up, part of `epochs`."""
    schedule: Literal["cosine", "multistep"] = "cosine"
    """Shape after the warm-up."""
    warmup_prefix: bool | None = None
    """Start the cosine after the warm-up (Swin repository), not under it (SimMIM repository);
    null: as the recipe, of which official has it under."""
    milestones: tuple[int, ...] = (700,)
    """Epochs at which multistep multiplies the rate by gamma."""
    gamma: float = 0.1
    """Factor of multistep."""
    base_lr: float = 2e-4
    """Rate after the warm-up, per 512 images."""
    warmup_lr: float = 1e-6
    """Rate at the first step, per 512 images."""
    min_lr: float = 1e-5
    """Rate the cosine ends at, per 512 images."""
    weight_decay: float = 0.05
    """AdamW's decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the moments."""
    clip_grad: float | None = 5.0
    """Largest norm of the whole gradient; a larger one is scaled down to it. null: none is."""
    layer_decay: float = 1.0
    """Factor on the rate from each layer of the encoder to the one before, (0, 1]; 1 for none."""

    def __post_init__(self) -> None:
        require_all("be greater than 0", "optim", self, "epochs", "base_lr", "clip_grad")
        require(
            0 <= self.warmup_epochs < self.epochs,
            f"optim.warmup_epochs={self.warmup_epochs} must be at least 0 and less than "
            f"optim.epochs={self.epochs}",
        )
        in_order = bool(self.milestones) and [*self.milestones] == sorted(self.milestones)
        require(
            self.schedule != "multistep" or in_order,
            f"optim.milestones={list(self.milestones)} must be one or more, in their order, with "
            "optim.schedule=multistep",
        )
        require_all("be 0 or more", "optim", self, "warmup_lr", "min_lr", "weight_decay")
        require_all("be greater than 0", "optim", self, "layer_decay")
        require_all("lie in [0, 1]", "optim", self, "layer_decay")
        allowed = all(0 <= beta < 1 for beta in self.betas)
        require(allowed, f"optim.betas={self.betas} must lie in [0, 1)")


@dataclass(frozen=True)
class FinetuneOptimConfig(OptimConfig):
    """As `OptimConfig`, with mixing."""

    warmup_epochs: float = 20
    """Epochs of linear warm-up, part of `epochs`."""
    base_lr: float = 1.25e-3
    """Rate of the head after the warm-up, per 512 images."""
    warmup_lr: float = 2.5e-7
    """Rate at the first step, per 512 images."""
    min_lr: float = 2.5e-7
    """Rate the cosine ends at, per 512 images."""
    layer_decay: float = 0.9
    """Factor on the rate from each layer to the one before it, (0, 1]."""
    mixup: float = 0.8
    """Alpha of mixup; 0 for none."""
    cutmix: float = 1.0
    """Alpha of CutMix; 0 for none."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_all("lie in [0, 1]", "optim", self, "label_smoothing")
        require_all("be 0 or more", "optim", self, "mixup", "cutmix")
