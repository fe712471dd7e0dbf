"""Stop "encode" on the route: one Swin block, and the blocks of one stage."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssl_swin.models.attention import WindowAttention
from ssl_swin.models.cosine_attention import CosineAttention
from ssl_swin.models.moves import Move, move
from ssl_swin.models.patches import PatchMerging
from ssl_swin.models.visible_windows import Among
from ssl_swin.models.window_mlp import WindowMLP
from ssl_swin.models.windows import (
    Padding,
    Shift,
    Sides,
    Windows,
    half_window,
    raster,
    split_into_windows,
)

MLP_RATIO = 4  # channels within an MLP, for each of a token


class Switches(NamedTuple):
    """What the paper takes away or replaces to see what it is worth; the defaults are Swin."""

    shift: Shift = "cyclic"
    padding: Padding = "attended"
    relative_bias: bool = True
    mixes_by_mlp: bool = False
    is_v2: bool = False  # norms after what they are of, scores by cosines


A_SWIN = Switches()


class StageSizes(NamedTuple):
    """Sizes of one stage."""

    dim: int  # channels
    grid: Sides  # rows and columns of tokens
    num_heads: int
    window: Sides  # rows and columns of tokens; no larger than the grid
    drop_path_rates: tuple[float, ...]  # one for each block
    pretrained_window: Sides = (0, 0)  # that coordinates are scaled by, in version 2

    def windows(self, block: int, switches: Switches) -> Windows:
        """Return the windows of a block; every second one shifts them."""
        shift = self.shift(block, switches)
        return split_into_windows(self.grid, self.window, shift, switches.shift, switches.padding)

    def shift(self, block: int, switches: Switches) -> Sides:
        """Return by how many rows and columns a block's windows are shifted."""
        if block % 2 == 0 or switches.shift == "none":
            return 0, 0
        return half_window(self.grid, self.window)

    def first_order(self, switches: Switches) -> np.ndarray:
        """Return the order in which the first block would have its tokens."""
        windows = self.windows(0, switches)
        return windows.order if windows.are_full else raster(self.grid)


class Mlp(nn.Module):
    """Two linear layers and an exact GELU between them, for each token by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Return as many channels as there were."""
        return self.fc2(self.act(self.fc1(x)))


def norm_before(norm: nn.Module, branch: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return what a branch makes of a norm."""
    return branch(norm(x))


def norm_after(norm: nn.Module, branch: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the norm of what a branch makes.

    Source:
        Swin V2, section 3.2, "post normalization" (arXiv:2111.09883).
    """
    return norm(branch(x))


class SwinBlock(nn.Module):
    """Attention within windows, then an MLP, each on the norm of what it is added to.

    In version 2 it is the norm of each that is added. These norms start at 0.

    Tokens stay in the order of the windows from block to block: where no slot of a window is empty,
    going over to other windows is one gather. Else tokens go into the slots, and back, around
    attention alone.

    Source:
        Swin, section 3.2, figure 3 (b), equation 3 (arXiv:2103.14030); Swin V2, figure 1
        (arXiv:2111.09883).
    """

    def __init__(
        self, sizes: StageSizes, number: int, held: np.ndarray, switches: Switches
    ) -> None:
        """Build a block of a stage, whose tokens come in the order `held`."""
        super().__init__()
        windows = sizes.windows(number, switches)
        self.dim, self.input_resolution = sizes.dim, sizes.grid
        self.window_size, self.shift_size = sizes.window, sizes.shift(number, switches)
        self.order = windows.order if windows.are_full else held  # of the tokens it returns
        self.arrange = Move(held, self.order)
        self.enter, self.leave = Move(self.order, windows.order), Move(windows.order, self.order)
        rate = sizes.drop_path_rates[number]
        self.norm1 = nn.LayerNorm(sizes.dim)
        self.attn = _mixer(sizes, switches)
        self.drop_path1 = DropPath(rate) if rate else nn.Identity()
        self.norm2 = nn.LayerNorm(sizes.dim)
        self.mlp = Mlp(sizes.dim)
        self.drop_path2 = DropPath(rate) if rate else nn.Identity()
        visible = None if switches.mixes_by_mlp else windows.visible()
        mask = None if visible is None else torch.from_numpy(visible)
        self.register_buffer("attn_mask", mask, persistent=False)
        self.normed = norm_after if switches.is_v2 else norm_before
        if switches.is_v2:
            nn.init.zeros_(self.norm1.weight)
            nn.init.zeros_(self.norm2.weight)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], among: Among | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return the tokens in the block's own order, or, of visible ones alone, as they came."""
        if among is None:
            x, mix = self.arrange(x), self._mix
        else:
            mix = partial(self._mix_among, among=among)
        x = x + self.drop_path1(self.normed(self.norm1, mix, x))
        return x + self.drop_path2(self.normed(self.norm2, self.mlp, x))

    def layout(self) -> Windows:
        """Return its windows, shifted without empty slots."""
        return split_into_windows(self.input_resolution, self.window_size, self.shift_size)

    def _mix_among(self, x: Tensor, among: Among) -> Tensor:
        slots = move(x, among.take, among.back, fills=True)  # (batch, groups * places, dim)
        groups = slots.reshape(-1, among.visible.shape[1], self.dim)
        mixed = self.attn(groups, among.visible, among.bias_rows).view(slots.shape)
        return move(mixed, among.back, among.take, drops=True)

    def _mix(self, x: Tensor) -> Tensor:
        slots = self.enter(x)  # (batch, windows * places, dim)
        windows = slots.reshape(-1, self.window_size[0] * self.window_size[1], self.dim)
        return self.leave(self.attn(windows, self.attn_mask).view(slots.shape))


def _mixer(sizes: StageSizes, switches: Switches) -> nn.Module:
    """Return what mixes the tokens of a window."""
    if switches.mixes_by_mlp:
        return WindowMLP(sizes.num_heads, sizes.window)
    given = sizes.dim, sizes.num_heads, sizes.window, switches.relative_bias
    if not switches.is_v2:
        return WindowAttention(*given)
    is_as_published = (switches.shift, switches.padding) == (A_SWIN.shift, A_SWIN.padding)
    return CosineAttention(*given, sizes.pretrained_window, hides_all=not is_as_published)


class SwinStage(nn.Module):
    """The blocks of one resolution; `downsample` is the merging that leads to it."""

    def __init__(
        self, sizes: StageSizes, held: np.ndarray, before: Sides | None, switches: Switches
    ) -> None:
        """Build a stage.

        Args:
            sizes: Of the stage.
            held: The order in which tokens come.
            before: Rows and columns of tokens before they are merged; None for the first stage.
            switches: What is other than in a Swin.
        """
        super().__init__()
        self.grid, self.grad_checkpointing = sizes.grid, False
        self.downsample: nn.Module = nn.Identity()
        if before is not None:
            first = sizes.first_order(switches)
            self.downsample = PatchMerging(sizes.dim // 2, before, held, first, switches.is_v2)
            held = first
        self.unshuffle_start = Move(held, raster(sizes.grid))
        blocks = []
        for number in range(len(sizes.drop_path_rates)):
            blocks.append(SwinBlock(sizes, number, held, switches))
            held = blocks[-1].order
        self.blocks = nn.Sequential(*blocks)
        self.order = held
        self.unshuffle = Move(held, raster(sizes.grid))

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], among: Sequence[Among] = ()
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return what the blocks make of merged tokens, in the order of the last block.

        Of visible ones alone, block by block `among` some, in the order in which they come.
        """
        for number, block in enumerate(self.blocks):
            given = among[number : number + 1]
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, *given, use_reentrant=False)
            else:
                x = block(x, *given)
        return x

    def as_map(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch rows cols dim"]:
        """Return the tokens row by row, as they lie in the image."""
        return self.unshuffle(x).unflatten(1, self.grid)

    def start_as_map(
        self, x: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch rows cols dim"]:
        """Return the merged tokens likewise, as they are before the first block."""
        return self.unshuffle_start(x).unflatten(1, self.grid)
