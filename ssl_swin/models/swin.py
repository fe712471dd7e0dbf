"""The Swin encoder: timm's, by composition, with a mask token."""

import re
from typing import Any, TypedDict, Unpack

import timm
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.errors import UserError

_BLOCK = re.compile(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.")
_DOWNSAMPLE = re.compile(r"backbone\.layers\.(\d+)\.downsample\.")
_TABLE = "backbone.layers.{}.blocks.{}.attn.relative_position_bias_table"


class SwinSizes(TypedDict, total=False):
    """Sizes of a Swin; one that is not given, or None, is timm's of the name."""

    patch_size: int | None
    """Side of a token of the first stage in pixels."""
    window_size: int | tuple[int, ...] | None
    """Side of the attention window in tokens; one number, or one per stage."""
    embed_dim: int | None
    """Channels of the first stage."""
    depths: tuple[int, ...] | None
    """Blocks of each stage."""
    num_heads: tuple[int, ...] | None
    """Attention heads of each stage."""


class SwinEncoder(nn.Module):
    """An `Encoder` in which one learned token replaces hidden tokens of the first stage.

    Every token, hidden or not, goes through `backbone`, timm's model without head. Its layers are
    the blocks of all stages. A stage not larger than the window is one window, without shift; a
    stage that the window does not divide is padded, as timm does (the official code cannot run
    such sizes).

    Weights start as in the official code: linear layers and position tables truncated normal with
    standard deviation 0.02, biases 0, norms 1 and 0, the patch convolution PyTorch's default.

    Source:
        Swin (arXiv:2103.14030) as in timm/models/swin_transformer.py; the mask token from SimMIM,
        section 3.1 (arXiv:2111.09886), and its code, models/simmim.py.
    """

    def __init__(
        self,
        name: str = "swin_base_patch4_window7_224",
        img_size: int | tuple[int, int] = 192,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        **sizes: Unpack[SwinSizes],
    ) -> None:
        """Build a Swin (version 1) of timm and check that its sizes fit.

        The chance to skip a block's branch, in [0, 1), grows with depth up to `drop_path_rate`.

        Raises:
            UserError: If the sizes do not fit each other, or one of them is no size of a Swin.
        """
        super().__init__()
        rows, cols = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.name, self.img_size, self.in_chans = name, (int(rows), int(cols)), in_chans
        shape = {"img_size": self.img_size, "in_chans": in_chans}
        self.backbone = _timm_swin(name, sizes, drop_path_rate=drop_path_rate, **shape)
        self.patch_size = int(self.backbone.patch_embed.patch_size[0])
        self.window_size = _nominal_window(self.backbone, sizes.get("window_size"))
        self.num_features = int(self.backbone.num_features)
        self.depths = tuple(len(stage.blocks) for stage in self.backbone.layers)
        self.num_layers = sum(self.depths)
        self.stride = self.patch_size * 2 ** (len(self.depths) - 1)
        self._check_sizes()
        token = torch.empty(1, 1, self.backbone.embed_dim)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(token, std=0.02))

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> Float[Tensor, "batch num_features out_rows out_cols"]:
        """Encode images, not seeing the hidden tokens.

        Raises:
            ValueError: If the images have another size than the encoder was built for.
        """
        x = self.backbone.layers(self._embed(images, token_mask))
        return self.backbone.norm(x).permute(0, 3, 1, 2)  # (batch, num_features, out_rows, cols)

    def stages(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map after each stage, as timm's `forward_intermediates` does.

        The i-th has ``embed_dim * 2**i`` channels and a position for ``patch_size * 2**i`` pixels.
        """
        x, maps = self._embed(images, token_mask), []
        for stage in self.backbone.layers:
            x = stage(x)  # (batch, rows, cols, channels)
            maps.append(x.permute(0, 3, 1, 2))
        return maps

    def _embed(
        self, images: Tensor, token_mask: Tensor | None
    ) -> Float[Tensor, "batch token_rows token_cols embed_dim"]:
        if images.shape[1:] != (self.in_chans, *self.img_size):
            raise ValueError(
                f"images of shape {tuple(images.shape)}, but this encoder takes "
                f"(batch, {self.in_chans}, {self.img_size[0]}, {self.img_size[1]}); "
                "resize the images or build the encoder with their img_size and in_chans"
            )
        x = self.backbone.patch_embed(images)  # (batch, token_rows, token_cols, embed_dim)
        if token_mask is None:
            return x
        return torch.where(token_mask.unsqueeze(-1), self.mask_token.to(x.dtype), x)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of all stages."""
        return [block for stage in self.backbone.layers for block in stage.blocks]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the input of each block alone; the backward computes it again, as it was drawn."""
        self.backbone.set_grad_checkpointing(enable)

    def layer_of(self, parameter_name: str) -> int:
        """Count a parameter's layer from the image: 0 for the stem, then one for each block.

        Down-sampling has the layer of the last block before it.

        Raises:
            ValueError: If there is no such parameter.

        Source:
            SimMIM code, optimizer.py, ``get_swin_layer``. There down-sampling is named after the
            stage it leaves, in timm after the stage it enters; the layer is the same.
        """
        if match := _BLOCK.match(parameter_name):
            return sum(self.depths[: int(match[1])]) + int(match[2]) + 1
        if match := _DOWNSAMPLE.match(parameter_name):
            return sum(self.depths[: int(match[1])])
        if parameter_name.startswith(("mask_token", "backbone.patch_embed.")):
            return 0
        if parameter_name.startswith("backbone.norm."):
            return self.num_layers + 1
        raise ValueError(f"{parameter_name!r} belongs to no known layer of a Swin")

    def no_decay(self) -> set[str]:
        """Return the mask token and the position tables."""
        return {*self.mask_parameters(), *self.position_tables()}

    def mask_parameters(self) -> set[str]:
        """Return the mask token, which whole images never use."""
        return {"mask_token"}

    def position_tables(self) -> dict[str, tuple[int, int]]:
        """Return each block's table, with the rows and columns of its window."""
        return {
            _TABLE.format(i, j): block.attn.window_size
            for i, stage in enumerate(self.backbone.layers)
            for j, block in enumerate(stage.blocks)
        }

    def architecture(self) -> dict[str, Any]:
        """Return it without drop path, which belongs to a training run and not to the weights."""
        window = self.window_size
        return {
            "name": self.name,
            "img_size": list(self.img_size),
            "patch_size": self.patch_size,
            "window_size": window if isinstance(window, int) else list(window),
            "in_chans": self.in_chans,
            "embed_dim": int(self.backbone.embed_dim),
            "depths": list(self.depths),
            "num_heads": [stage.blocks[0].attn.num_heads for stage in self.backbone.layers],
        }

    def _check_sizes(self) -> None:
        if any(side < self.stride or side % self.stride for side in self.img_size):
            raise UserError(
                f"img_size={self.img_size} is not a multiple of {self.stride} pixels, the patch of "
                f"{self.patch_size} after {len(self.depths)} stages; choose a multiple"
            )
        for stage in self.backbone.layers:
            block = stage.blocks[0]
            if block.dim % block.attn.num_heads:
                raise UserError(
                    f"num_heads={block.attn.num_heads} does not divide the {block.dim} channels of "
                    "its stage; choose embed_dim and num_heads so that every stage divides"
                )


def _nominal_window(backbone: Any, given: int | tuple[int, ...] | None) -> int | tuple[int, ...]:
    if given is not None:
        return given if isinstance(given, int) else tuple(given)
    # timm keeps what each stage uses, which is less than the window where the stage is smaller.
    stages = [stage.blocks[0] for stage in backbone.layers]
    used = tuple(int(block.window_size[0]) for block in stages)
    shrunk = tuple(min(max(used), int(block.input_resolution[0])) for block in stages)
    return max(used) if used == shrunk else used


def _timm_swin(name: str, sizes: SwinSizes, **others: Any) -> Any:
    given: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    _check_given(given)
    if not isinstance(given.get("window_size", 0), int):
        # One pair per stage: timm would take a bare (7, 7) for rows and columns of every window.
        given["window_size"] = tuple((side, side) for side in given["window_size"])
    return timm.create_model(name, num_classes=0, **given, **others)


def _check_given(given: dict[str, Any]) -> None:
    if unknown := given.keys() - SwinSizes.__annotations__.keys():
        raise UserError(
            f"a Swin has no {', '.join(sorted(unknown))}; it takes only "
            f"{', '.join(SwinSizes.__annotations__)}"
        )
    stages = {key: value for key, value in given.items() if not isinstance(value, int)}
    if len({len(value) for value in stages.values()}) > 1:
        raise UserError(
            "one value per stage is needed, but "
            + ", ".join(f"{key} has {len(value)}" for key, value in stages.items())
            + "; give all of them the same length"
        )
    for key, value in given.items():
        if min(stages.get(key, [value])) < 1:
            raise UserError(f"{key}={value} must be at least 1{' each' if key in stages else ''}")
