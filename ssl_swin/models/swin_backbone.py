"""Stop "encode" on the route: the Swins of the papers, from images to the maps of its stages."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ssl_swin.models.patches import PatchEmbed
from ssl_swin.models.swin_block import A_SWIN, StageSizes, SwinStage, Switches
from ssl_swin.models.visible_windows import lay_out
from ssl_swin.models.windows import Sides, fit_window


class SwinShape(NamedTuple):
    """Sizes of a Swin."""

    img_size: Sides  # pixels
    in_chans: int
    patch_size: int  # pixels
    embed_dim: int  # channels of the first stage; each stage has twice those of the one before
    depths: tuple[int, ...]  # blocks of each stage
    num_heads: tuple[int, ...]  # of each stage
    windows: tuple[Sides, ...]  # tokens, of each stage
    drop_path_rate: float  # of the last block, rising from 0 at the first
    pretrained: tuple[Sides, ...] | None = None  # windows of each stage; see `StageSizes`

    def stages(self) -> list[StageSizes]:
        """Return the sizes of each stage: half the rows and columns of the one before."""
        rates = torch.linspace(0, self.drop_path_rate, sum(self.depths), device="cpu").tolist()
        stages, grid = [], self.grid
        for number, (depth, heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            window = fit_window(grid, self.windows[number])
            own, rates = tuple(rates[:depth]), rates[depth:]
            scale = window if self.pretrained is None else self.pretrained[number]
            stages.append(StageSizes(self.embed_dim * 2**number, grid, heads, window, own, scale))
            grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        return stages

    @property
    def grid(self) -> Sides:
        """Rows and columns of tokens of the first stage."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size


class Swin(nn.Module):
    """Patches, stages at strides of 4, 8, 16 and 32 pixels, and a norm; names are timm's.

    Example::

        swin = SwinEncoder("swin_tiny_patch4_window7_224", 224).backbone
        features = swin(images)  # (batch, 7, 7, 768)

    Source:
        Swin, section 3.1 and figure 3 (arXiv:2103.14030).
    """

    def __init__(
        self, shape: SwinShape, switches: Switches = A_SWIN, absolute_positions: bool = False
    ) -> None:
        """Build it; `absolute_positions` adds to each token what is learned for its place.

        Weights start as timm draws them.
        """
        super().__init__()
        stages = shape.stages()
        self.embed_dim, self.num_features = shape.embed_dim, stages[-1].dim
        self.grid = shape.grid
        held, before = stages[0].first_order(switches), None
        self.patch_embed = PatchEmbed(
            shape.patch_size, shape.in_chans, shape.embed_dim, shape.grid, held
        )
        self.absolute_pos_embed: nn.Parameter | None = None
        if absolute_positions:
            places = torch.empty(1, len(held), shape.embed_dim)
            self.absolute_pos_embed = nn.Parameter(trunc_normal_(places, std=0.02))
        layers = []
        for sizes in stages:
            layers.append(SwinStage(sizes, held, before, switches))
            held, before = layers[-1].order, sizes.grid
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(self.num_features)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
        mask_token: Float[Tensor, "1 1 embed_dim"] | None = None,
    ) -> Float[Tensor, "batch out_rows out_cols num_features"]:
        """Return the norm of the last stage's map; see `maps`."""
        for as_map, x in self._walk(images, token_mask, mask_token):
            last = as_map, x
        as_map, x = last
        return as_map(self.norm(x))

    def maps(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "batch token_rows token_cols"] | None = None,
        mask_token: Float[Tensor, "1 1 embed_dim"] | None = None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the map of each stage, (batch, rows, cols, channels), before the norm.

        The mask token takes the place of tokens where the mask is True.
        """
        walk = self._walk(images, token_mask, mask_token)
        return [as_map(x) for number, (as_map, x) in enumerate(walk) if number % 2]

    def starts_and_maps(
        self, images: Tensor, token_mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return what the blocks of each stage begin with, as maps, and `maps`."""
        walk = self._walk(images, token_mask, mask_token)
        found = [as_map(x) for as_map, x in walk]
        return found[::2], found[1::2]

    def fills_windows(self) -> bool:
        """Return whether all windows lie within the image."""
        stages: Any = self.layers
        return all(block.layout().are_full for stage in stages for block in stage.blocks)

    def visible_maps(
        self,
        images: Float[Tensor, "batch chans height width"],
        token_mask: Bool[Tensor, "token_rows token_cols"],
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], list[Float[Tensor, "batch _ _ _"]]]:
        """Return `starts_and_maps` of visible tokens alone, with 0 where all images have hidden.

        Raises:
            UserError: If tokens that are merged are hidden in part.
        """
        stages: Any = self.layers
        layouts = [[block.layout() for block in stage.blocks] for stage in stages]
        window_of = [stage.blocks[0].window_size for stage in stages]
        shown = ~token_mask.cpu().numpy().ravel()
        amongs = [one.to(images.device) for one in lay_out(layouts, self.grid, window_of, shown)]
        x = self.patch_embed(images, amongs[0].tokens)
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed.index_select(1, amongs[0].tokens)
        starts, ends = [], []
        for stage, among in zip(stages, amongs, strict=True):
            x = x if among.merged is None else stage.downsample(x, among.merged)
            starts.append(among.as_map(x, stage.grid))
            x = stage(x, among.blocks)
            ends.append(among.as_map(x, stage.grid))
        return starts, ends

    def _walk(
        self, images: Tensor, token_mask: Tensor | None, mask_token: Tensor | None
    ) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor]]:
        """Give the tokens before the blocks of each stage and after them, and what lays them out.

        They are in the order of the windows.
        """
        x, arrange = self.patch_embed(images), self.patch_embed.arrange
        if token_mask is not None and mask_token is not None:
            hidden = arrange(token_mask.flatten(1).unsqueeze(-1))
            x = torch.where(hidden, mask_token.to(x.dtype), x)
        if self.absolute_pos_embed is not None:
            x = x + arrange(self.absolute_pos_embed)
        stage: Any
        for stage in self.layers:
            x = stage.downsample(x)
            yield stage.start_as_map, x
            x = stage(x)
            yield stage.as_map, x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep the input of each block alone; the backward computes the rest again."""
        stage: Any
        for stage in self.layers:
            stage.grad_checkpointing = enable
