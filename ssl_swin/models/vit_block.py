"""Stop "encode" on the route: one block of a ViT, in which every token sees all others."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_swin.models.attention import attention, bias_of, fused_attention
from ssl_swin.models.swin_block import Mlp
from ssl_swin.models.windows import Sides, relative_positions

QkvBias = Literal["qkv", "qv", "none"]
EPS = 1e-6  # that norms add to variances: timm's, torchvision's, SimMIM's
CLASS_ROWS = 3  # of a table: class token to others, others to it, and it to itself


class BlockSizes(NamedTuple):
    """Sizes and kind of a block."""

    dim: int  # channels
    num_heads: int
    drop_path_rate: float
    qkv_bias: QkvBias = "qkv"  # of queries, keys and values; or not of keys; or none
    init_values: float = 0.0  # with which both branches' scales start; 0 for no scales
    table_rows: int = 0  # of a table of relative positions of its own; 0 for none
    norm_eps: float = EPS


def bias_rows(grid: Sides, class_token: bool) -> Int64[np.ndarray, "tokens tokens"]:
    """Return for each two tokens which row of a bias table says how they lie.

    Displacements come first, as in a Swin's window of the whole image; the class token is nowhere,
    and has three rows after them.

    Source:
        BEiT (arXiv:2106.08254) and its code; SimMIM code, models/vision_transformer.py.
    """
    among = relative_positions(grid)
    if not class_token:
        return among
    first = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    rows = np.empty((len(among) + 1, len(among) + 1), dtype=np.int64)
    rows[1:, 1:] = among
    rows[0, :], rows[:, 0], rows[0, 0] = first, first + 1, first + 2
    return rows


def num_rows(grid: Sides, class_token: bool) -> int:
    """Return how many rows such a table has."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + CLASS_ROWS * class_token


class RelativeBias(nn.Module):
    """A table for all blocks of what is added to scores for how two tokens lie; it starts at 0."""

    def __init__(self, rows: int, num_heads: int) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(
        self, index: Int64[Tensor, "tokens tokens"]
    ) -> Float[Tensor, "1 heads tokens tokens"]:
        """Return what is added to the scores of each head; `bias_rows` makes the index."""
        return bias_of(self.relative_position_bias_table, index).unsqueeze(0)


class LayerScale(nn.Module):
    """Multiply each channel of a branch by a learned number.

    Source:
        CaiT, section 2 (arXiv:2103.17239).
    """

    def __init__(self, dim: int, init_values: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init_values))

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Return as many channels as there were."""
        return self.gamma * x


class ViTAttention(nn.Module):
    """Multi-head self-attention among all tokens, with or without a bias for how two of them lie.

    Names of parameters are timm's: those of its ViT, and of its BEiT where a ViT has none. With
    `fused_attn`, torch's kernel computes it.
    """

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.num_heads, self.fused_attn, dim = sizes.num_heads, False, sizes.dim
        self.qkv = nn.Linear(dim, 3 * dim, bias=sizes.qkv_bias == "qkv")
        self.q_bias: nn.Parameter | None = None
        self.v_bias: nn.Parameter | None = None
        if sizes.qkv_bias == "qv":  # a key's bias adds the same to all scores of a query
            self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(dim)) for _ in range(2))
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table: nn.Parameter | None = None
        if sizes.table_rows:
            table = torch.zeros(sizes.table_rows, sizes.num_heads)
            self.relative_position_bias_table = nn.Parameter(table)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], shared: Tensor | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Attend.

        What all blocks share is the bias of each two tokens, (1, heads, tokens, tokens), or, for a
        table of the block's own, its row, int64 (tokens, tokens); None for no bias.
        """
        bias, table = shared, self.relative_position_bias_table
        if table is not None and shared is not None:
            bias = bias_of(table, shared).unsqueeze(0)
        qkv = F.linear(x, self.qkv.weight, self._qkv_bias())
        attend = fused_attention if self.fused_attn else attention
        return self.proj(attend(qkv, bias, self.num_heads))

    def _qkv_bias(self) -> Tensor | None:
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        return torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))


class ViTBlock(nn.Module):
    """Attention among all tokens, then an MLP, each on the norm of what it is added to.

    Source:
        ViT, section 3.1, equations 2 and 3 (arXiv:2010.11929).
    """

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        dim, rate, start = sizes.dim, sizes.drop_path_rate, sizes.init_values
        self.norm1 = nn.LayerNorm(dim, sizes.norm_eps)
        self.attn = ViTAttention(sizes)
        self.ls1 = LayerScale(dim, start) if start else nn.Identity()
        self.drop_path1 = DropPath(rate) if rate else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, sizes.norm_eps)
        self.mlp = Mlp(dim)
        self.ls2 = LayerScale(dim, start) if start else nn.Identity()
        self.drop_path2 = DropPath(rate) if rate else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], shared: Tensor | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Return the tokens; see `ViTAttention` for what all blocks share."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), shared)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
