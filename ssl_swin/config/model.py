"""What a run is: the network, what is hidden from it, and what it predicts."""

from dataclasses import dataclass
from typing import Literal

from ssl_swin.config.settings import (
    layout_setting,
    newer_setting,
    require,
    require_all,
    require_filled,
)
from ssl_swin.data.pixels.img_size import require_img_size


@dataclass(frozen=True)
class ModelConfig:
    """A Swin, Swin V2 or ViT by its timm name; null keeps what the name says."""

    name: str = "swin_base_patch4_window7_224"
    """timm's name of a Swin, a Swin V2 (swinv2_...), or a plain ViT, DeiT or BEiT."""
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
    pretrained_window_sizes: int | tuple[int, ...] | tuple[tuple[int, int], ...] | None = None
    """Windows whose sides a Swin V2 scales coordinates by, as window_size; 0 for its own. They
    belong to the weights: leave it null where there is an encoder to begin with."""
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
        size, rate = self.img_size, self.drop_path_rate
        require_img_size("model.img_size", size)
        require(0 <= rate < 1, f"model.drop_path_rate={rate} must lie in [0, 1)")


@dataclass(frozen=True)
class MaskConfig:
    """What is hidden."""

    kind: str = "random"
    """How masks are drawn: random (each mask patch for itself), block (a few blocks, until as many
    patches are hidden), square (one square, anywhere), none (nothing is hidden, and the loss is
    taken everywhere)."""
    mask_patch_size: int = 32
    """Pixels to a side of a mask patch; divides img_size, a multiple of patch_size."""
    mask_ratio: float = 0.6
    """Share of mask patches hidden, rounded up to whole patches; (0, 1); not with kind=none."""
    token: Literal["embedded", "pixels", "none"] = "embedded"
    """What stands for what is hidden: a learned token after patches are embedded; or a learned
    number of each channel, painted on the pixels before; or none: the encoder computes visible
    tokens alone, which is faster, and all images of a step have one mask."""

    def __post_init__(self) -> None:
        for name in ("mask_ratio", "token"):
            value = getattr(self, name)
            require(
                self.kind != "none" or value == getattr(type(self), name),
                f"mask.{name}={value} beside mask.kind=none, which hides nothing; leave out one of "
                "the two",
            )


@dataclass(frozen=True)
class TargetConfig:
    """What is predicted where the image is hidden."""

    kind: str = "pixels"
    """pixels; normalised_pixels: each less the mean of its surroundings, over their standard
    deviation; normalised_patches: all pixels of a cell, likewise by those of the cell;
    coarse_pixels: the mean of each cell; hog: the directions of edges in each cell; teacher: the
    features of a frozen network; teacher_pooled: their mean over an image."""
    norm_size: int = 47
    """Side of the square of surroundings, pixels, an odd number; of normalised_pixels only."""
    cell_size: int = 8
    """Side of a cell, pixels; divides mask_patch_size and the pixels of a position of the stage it
    is predicted from; of normalised_patches, coarse_pixels and hog."""
    hog_bins: int = 9
    """Directions of edges, of 180 degrees, 2 or more; of hog only."""
    teacher: str | None = layout_setting(None)
    """The frozen network of teacher: timm:NAME, timm:NAME:FILE, a run folder or a file of an
    encoder, of as many channels as the images. Its weights are in no checkpoint: keep them."""
    teacher_img_size: int | None = None
    """Side to which images are resized for the teacher, pixels; null: that of model.img_size."""
    where: Literal["hidden", "everywhere"] = "hidden"
    """Where the loss is taken: where the image is hidden, or everywhere."""
    teacher_stage: int | None = None
    """Stage whose map the teacher gives, counted from 1; of a ViT a block; null: its output."""
    teacher_at: Literal["start", "end"] = "end"
    """Where in that stage: before its blocks, after patches are merged, or after its blocks."""

    def __post_init__(self) -> None:
        require_all("be greater than 0", "target", self, "teacher_stage")
        require_filled("target.", self, "teacher")
        if self.teacher_img_size is not None:
            require_img_size("target.teacher_img_size", self.teacher_img_size)
        require(
            self.teacher_at == "end" or self.teacher_stage is not None,
            "target.teacher_at=start is of a stage; give target.teacher_stage, or leave it out",
        )


@dataclass(frozen=True)
class HeadConfig:
    """One of several things that are predicted, each from a stage of the encoder."""

    stage: int
    """Stage whose map it is predicted from, counted from 1; one head must be at the last."""
    target: str = "pixels"
    """As target.kind; the other settings of target are those of all heads."""
    loss: str = "l1"
    """As loss."""
    weight: float = 1.0
    """What its loss is multiplied with in the sum; greater than 0."""
    cell_size: int | None = None
    """As target.cell_size; null: that."""
    at: Literal["start", "end"] = "end"
    """Where in the stage: before its blocks, after patches are merged, or after its blocks."""
    decoder_dim: int | None = None
    """As decoder.dim; null: that."""
    where: Literal["hidden", "everywhere"] | None = None
    """As target.where; null: that."""

    def __post_init__(self) -> None:
        named = None not in (self.stage, self.target, self.loss, self.weight)
        require(named, "heads.stage, heads.target, heads.loss and heads.weight must not be null")
        counted = ("stage", "weight", "cell_size", "decoder_dim")
        require_all("be greater than 0", "heads", self, *counted)


@dataclass(frozen=True)
class ProgressiveConfig:
    """Smaller images in the first epochs."""

    until_epoch: int
    """Epoch from which on images are larger."""
    img_size: int | tuple[int, int]
    """Until then: both sides, or rows and columns, pixels; with the windows of model.img_size."""

    def __post_init__(self) -> None:
        require_all("be greater than 0", "progressive", self, "until_epoch")
        require_img_size("progressive.img_size", self.img_size)


@dataclass(frozen=True)
class DecoderConfig:
    """What predicts from a map of the encoder; of several heads each has its own."""

    kind: str = "linear"
    """linear: one layer, for each position by itself; transformer: blocks of a ViT, in which every
    position sees all others."""
    dim: int = 256
    """Channels, a multiple of num_heads; of transformer only, as all that follows."""
    depth: int = 4
    """Blocks."""
    num_heads: int = 8
    """Attention heads."""
    positions: Literal["none", "sin-cos"] = "none"
    """What is added to a token for its place: nothing, or fixed waves (dim a multiple of 4)."""

    def __post_init__(self) -> None:
        require_all("be greater than 0", "decoder", self, "dim", "depth", "num_heads")
