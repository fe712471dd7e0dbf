"""What a run is: the network, what is hidden from it, and what it predicts."""

from dataclasses import dataclass
from typing import Literal

from ssl_swin.config.settings import newer_setting, require


@dataclass(frozen=True)
class ModelConfig:
    """A Swin or ViT by its timm name; null keeps what the name says."""

    name: str = "swin_base_patch4_window7_224"
    """timm's name of a Swin (v1) or of a plain ViT, DeiT or BEiT."""
    img_size: int | tuple[int, int] = 192
    """Both sides of the network's input, or its rows and columns, pixels."""
    patch_size: int | None = None
    """Pixels to a side of a token of the first stage, or of a ViT."""
    window_size: int | tuple[int, ...] | tuple[tuple[int, int], ...] | None = None
    """Tokens to a side of an attention window; one number, or one for each stage; or rows and
    columns, two numbers, or a pair for each stage. Two numbers of two stages are a side of each."""
    embed_dim: int | None = None
    """Channels of the first stage."""
    depths: tuple[int, ...] | None = None
    """Blocks of each stage; a ViT is one stage."""
    num_heads: tuple[int, ...] | None = None
    """Attention heads of each stage; of a ViT one number."""
    drop_path_rate: float = 0.0
    """Drop path of the last block, rising from 0 at the first; [0, 1)."""
    shift: Literal["cyclic", "padded", "none"] | None = None
    """Windows of every second block: cyclic (as null), padded (the same, slower), none."""
    position: Literal["relative", "absolute", "both", "none", "relative-shared"] | None = None
    """What is learned of places: relative bias (of a Swin as null), absolute embedding (of a ViT as
    null), both, none; relative-shared of a ViT is one table for all blocks."""
    mixer: Literal["attention", "mlp"] | None = None
    """What mixes the tokens of a window: attention (as null), or mlp (padded shifts, no bias)."""
    padding: Literal["attended", "masked"] | None = None
    """Places of windows beyond the image: attended as zeros (as null, and timm), or masked."""
    implementation: Literal["ssl_swin", "timm"] | None = newer_setting(None, before="timm")
    """Whose code computes a Swin: ssl_swin (as null), or timm, as runs before 0.3 did."""
    class_token: bool | None = None
    """Whether a ViT has a token that is of no place; features are made of all others."""
    qkv_bias: Literal["qkv", "qv", "none"] | None = None
    """Biases of a ViT's queries, keys and values: qkv, qv as BEiT and SimMIM, none."""
    init_values: float | None = None
    """With which learned scales of a ViT's branches start; [0, 1], 0 for no scales."""
    fc_norm: bool | None = None
    """Whether the last norm of a ViT is of the mean over positions, not of each; fine-tuning."""
    norm_eps: float | None = None
    """What a ViT's norms add to variances: 1e-6 (as null), 1e-12 as in transformers; (0, 0.001]."""

    def __post_init__(self) -> None:
        rate = self.drop_path_rate
        require(0 <= rate < 1, f"model.drop_path_rate={rate} must lie in [0, 1)")


@dataclass(frozen=True)
class MaskConfig:
    """What is hidden."""

    kind: str = "random"
    """How masks are drawn: random (each mask patch for itself)."""
    mask_patch_size: int = 32
    """Pixels to a side of a mask patch; divides img_size, a multiple of patch_size."""
    mask_ratio: float = 0.6
    """Share of mask patches hidden, rounded up to whole patches; (0, 1)."""


@dataclass(frozen=True)
class TargetConfig:
    """What is predicted where the image is hidden."""

    kind: str = "pixels"
    """pixels, or normalised_pixels: each pixel less the mean of its surroundings, over their
    standard deviation."""
    norm_size: int = 47
    """Side of the square of surroundings, pixels, an odd number; of normalised_pixels only."""
