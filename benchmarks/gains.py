"""What makes our Swin fast, each taken out of a network by itself, for `step.py`.

A change keeps what the network computes: `step.py` refuses one whose loss is another. A new gain is
a function and a line in `GAINS`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from ssl_swin.models.attention import WindowAttention, attention_as_written
from ssl_swin.models.moves import Move
from ssl_swin.models.patches import PatchEmbed
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.windows import EMPTY, merged, raster, split_into_windows


class Gain(NamedTuple):
    """One of them."""

    take_out: Callable[[SimMIM], None]  # changes the network
    told: str  # what the network does without it


def attend_by(attend: Callable[..., Tensor], network: SimMIM) -> None:
    """Have attention computed by a function of queries, keys and values, bias and heads."""

    def forward(attention: WindowAttention, x: Tensor, visible: Tensor | None = None) -> Tensor:
        mixed = attend(attention.qkv(x), attention.bias(visible), attention.num_heads)
        return attention.proj(mixed)

    for module in network.modules():
        if isinstance(module, WindowAttention):
            module.forward = partial(forward, module)  # type: ignore[method-assign]


def keep_image_order(network: SimMIM) -> None:
    """Have tokens row by row between blocks; each block takes them into its windows and back."""
    swin: Any = network.encoder.backbone  # type: ignore[attr-defined]
    rows, before = raster(swin.layers[0].grid), None
    swin.patch_embed.arrange = Move(rows, rows)
    for stage in swin.layers:
        rows = raster(stage.grid)
        if before is not None:
            stage.downsample.gather = Move(raster(before), merged(before).ravel())
        for block in stage.blocks:
            windows = split_into_windows(stage.grid, block.window_size, block.shift_size).order
            block.arrange = Move(rows, rows)
            block.enter, block.leave = Move(rows, windows), Move(windows, rows)
        stage.unshuffle = Move(rows, rows)
        before = stage.grid


def move_by_index(network: SimMIM) -> None:
    """Move tokens by torch's own indexing, whose backward adds up over the places."""

    def forward(move: Move, x: Tensor) -> Tensor:
        if move.take is None:
            return x
        moved = x.index_select(1, move.take.clamp(min=0))
        empty = (move.take == EMPTY).unsqueeze(-1)
        return moved.masked_fill(empty, 0) if move.fills else moved

    for module in network.modules():
        if isinstance(module, Move):
            module.forward = partial(forward, module)  # type: ignore[method-assign]


def embed_by_convolution(network: SimMIM) -> None:
    """Embed patches by a convolution; their tokens are arranged after it."""

    def embed(patches: PatchEmbed, images: Tensor) -> Tensor:
        tokens = patches.proj(images).flatten(2).transpose(1, 2)  # (batch, tokens, embed_dim)
        return patches.norm(patches.arrange(tokens))

    for module in network.modules():
        if isinstance(module, PatchEmbed):
            module.forward = partial(embed, module)  # type: ignore[method-assign]


def decode_by_convolution(network: SimMIM) -> None:
    """Decode by a convolution of one position."""
    network.decoder.convolves = True


GAINS = {
    "contiguous": Gain(
        partial(attend_by, attention_as_written), "attention as written, on strided operands"
    ),
    "window-order": Gain(keep_image_order, "tokens put back row by row after each block"),
    "move-backward": Gain(move_by_index, "moves of tokens have torch's backward"),
    "patch-product": Gain(embed_by_convolution, "patch embedding as a convolution"),
    "decoder-product": Gain(decode_by_convolution, "decoder as a convolution"),
}
"""Name of a gain -> how it is taken out."""
