"""Stop "encode" on the route: the ViT of the paper, from images to the maps of its blocks."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssl_swin.models.moves import move
from ssl_swin.models.patches import PatchEmbed
from ssl_swin.models.vit_block import (
    EPS,
    BlockSizes,
    QkvBias,
    RelativeBias,
    ViTBlock,
    bias_rows,
    num_rows,
)
from ssl_swin.models.windows import EMPTY, Sides, raster

STD = 0.02  # with which weights start
STAGES = 4  # as many maps as a Swin has


class ViTShape(NamedTuple):
    """Sizes of a ViT."""

    img_size: Sides  # pixels
    in_chans: int
    patch_size: int  # pixels
    embed_dim: int  # channels
    depth: int  # blocks
    num_heads: int
    drop_path_rate: float  # of the last block, rising from 0 at the first

    @property
    def grid(self) -> Sides:
        """Rows and columns of tokens."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size


class ViTKind(NamedTuple):
    """What one ViT has and another has not."""

    absolute: bool = True  # whether something is learned of each place
    relative: bool = False  # whether each block has a table of how two tokens lie
    shared: bool = False  # whether all blocks share one such table
    class_token: bool = True
    qkv_bias: QkvBias = "qkv"
    init_values: float = 0.0
    fc_norm: bool = False  # whether the mean over positions is normed, and not each position
    norm_eps: float = EPS  # that norms add to variances


class ViT(nn.Module):
    """Patches, a class token, blocks at the stride of a patch, and a norm; names are timm's.

    Weights start as in SimMIM's code: normal with standard deviation 0.02, cut off at one of these,
    those that end a branch divided by the root of twice their block's number; tables at 0.

    Source:
        ViT, section 3.1 and figure 1 (arXiv:2010.11929); SimMIM code, models/vision_transformer.py.
    """

    relative_position_index: Tensor | None

    def __init__(self, shape: ViTShape, kind: ViTKind) -> None:
        super().__init__()
        dim, grid = shape.embed_dim, shape.grid
        self.embed_dim, self.num_features, self.grid = dim, dim, grid
        self.num_prefix_tokens, self.grad_checkpointing = int(kind.class_token), False
        patches = raster(grid)
        self.patch_embed = PatchEmbed(
            shape.patch_size, shape.in_chans, dim, grid, patches, has_norm=False
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim)) if kind.class_token else None
        num = len(patches) + self.num_prefix_tokens
        self.pos_embed = nn.Parameter(torch.empty(1, num, dim)) if kind.absolute else None
        rows, index = num_rows(grid, kind.class_token), None
        if kind.shared or kind.relative:
            index = torch.from_numpy(bias_rows(grid, kind.class_token))
        self.register_buffer("relative_position_index", index, persistent=False)
        self.rel_pos_bias = RelativeBias(rows, shape.num_heads) if kind.shared else None
        rates = torch.linspace(0, shape.drop_path_rate, shape.depth, device="cpu").tolist()
        more = (kind.qkv_bias, kind.init_values, rows if kind.relative else 0, kind.norm_eps)
        sizes = [BlockSizes(dim, shape.num_heads, rate, *more) for rate in rates]
        self.blocks = nn.Sequential(*map(ViTBlock, sizes))
        num = min(STAGES, shape.depth)
        self.last_blocks = [shape.depth * (stage + 1) // num - 1 for stage in range(num)]
        self.norm = nn.Identity() if kind.fc_norm else nn.LayerNorm(dim, kind.norm_eps)
        self.fc_norm = nn.LayerNorm(dim, kind.norm_eps) if kind.fc_norm else nn.Identity()
        self._start()

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
        mask_token: Float[Tensor, "1 1 embed_dim"] | None = None,
    ) -> Float[Tensor, "batch rows cols embed_dim"]:
        """Return the norm of the last block's map, or, with `fc_norm`, that map; see `maps`."""
        for last in self._walk(images, token_mask, mask_token):
            x = last
        return self._as_map(self.norm(x))

    def maps(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
        mask_token: Float[Tensor, "1 1 embed_dim"] | None = None,
    ) -> list[Float[Tensor, "batch rows cols embed_dim"]]:
        """Return the maps after `last_blocks`, before the norm, without the class token.

        The mask token takes the place of tokens where the mask is True.
        """
        walk = enumerate(self._walk(images, token_mask, mask_token))
        return [self._as_map(x) for block, x in walk if block in self.last_blocks]

    def visible_maps(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "token_rows token_cols"],
    ) -> list[Float[Tensor, "batch rows cols embed_dim"]]:
        """Return the same of visible tokens alone; what is hidden of any image is left out, and 0.

        Source:
            MAE, section 3 (arXiv:2111.06377): a ViT that sees visible patches alone.
        """
        shown = (~token_mask).flatten().cpu()
        tokens = shown.nonzero().squeeze(1)
        spread = torch.where(shown, shown.cumsum(0) - 1, EMPTY)
        tokens, spread = (one.to(images.device, non_blocking=True) for one in (tokens, spread))
        maps = []
        for block, x in enumerate(self._walk(images, only=tokens)):
            if block in self.last_blocks:
                x = move(x[:, self.num_prefix_tokens :], spread, tokens, fills=True)
                maps.append(x.unflatten(1, self.grid))
        return maps

    def _walk(
        self,
        images: Tensor,
        token_mask: Tensor | None = None,
        mask_token: Tensor | None = None,
        only: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Give the tokens after each block: all, or `only` those, counted row by row."""
        x = self.patch_embed(images, only)  # (batch, rows * cols, embed_dim)
        if token_mask is not None and mask_token is not None:
            x = torch.where(token_mask.flatten(1).unsqueeze(-1), mask_token.to(x.dtype), x)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x), dim=1)
        there = None if only is None else self._with_prefix(only)
        if self.pos_embed is not None:
            x = x + (self.pos_embed if there is None else self.pos_embed[:, there])
        shared = self.relative_position_index
        if shared is not None and there is not None:
            shared = shared[there][:, there]
        if self.rel_pos_bias is not None:
            shared = self.rel_pos_bias(shared)
        block: Any
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, shared, use_reentrant=False)
            else:
                x = block(x, shared)
            yield x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the input of each block alone; the backward computes the rest again."""
        self.grad_checkpointing = enable

    def _with_prefix(self, tokens: Tensor) -> Tensor:
        """Return the places of tokens among all, those before them of no place first."""
        prefix = torch.arange(self.num_prefix_tokens, device=tokens.device)
        return torch.cat((prefix, tokens + self.num_prefix_tokens))

    def _as_map(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch _ _ dim"]:
        return x[:, self.num_prefix_tokens :].unflatten(1, self.grid)

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                start(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.pos_embed):
            if token is not None:
                start(token)
        block: Any
        with torch.no_grad():
            for number, block in enumerate(self.blocks, 1):
                for ending in (block.attn.proj, block.mlp.fc2):
                    ending.weight.div_(math.sqrt(2 * number))


def start(weight: Tensor) -> None:
    """Draw with what weights of a ViT start."""
    nn.init.trunc_normal_(weight, std=STD, a=-STD, b=STD)
