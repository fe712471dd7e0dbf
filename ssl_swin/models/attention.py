"""Stop "encode" on the route: what the tokens of a window take from one another."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_swin.models.window_op import attend, is_supported
from ssl_swin.models.windows import Sides, relative_positions


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a bias for how two tokens lie.

    Names of parameters are timm's. With `fused_attn`, one kernel computes it: ours on a GPU, if it
    can, or torch's; else the steps that are written here do.

    Source:
        Swin, section 3.2, equation 4 (arXiv:2103.14030).
    """

    relative_position_index: Tensor

    def __init__(
        self, dim: int, num_heads: int, window_size: Sides, relative_bias: bool = True
    ) -> None:
        """Attend among the ``rows * columns`` places of a window, in heads that divide `dim`."""
        super().__init__()
        self.num_heads, self.window_size = num_heads, window_size
        self.fused_attn = False
        rows, cols = window_size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table: nn.Parameter | None = None
        if relative_bias:
            table = torch.empty((2 * rows - 1) * (2 * cols - 1), num_heads)
            self.relative_position_bias_table = nn.Parameter(trunc_normal_(table, std=0.02))
        positions = torch.from_numpy(relative_positions(window_size).ravel())
        self.register_buffer("relative_position_index", positions, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch_windows places dim"],
        visible: Bool[Tensor, "windows places places"] | None = None,
        bias_rows: Int64[Tensor, "windows places places"] | None = None,
    ) -> Float[Tensor, "batch_windows places dim"]:
        """Attend; windows of one image follow one another.

        `visible` says what a place (second axis) sees (third); None is everything. `bias_rows` are
        rows of the table, where places lie otherwise than those of a window.
        """
        qkv = self.qkv(x)
        if self.fused_attn and bias_rows is None and is_supported(qkv, self.num_heads):
            return self.proj(attend(qkv, self.relative_bias(), visible, self.num_heads))
        by_torch = fused_attention if self.fused_attn else attention
        return self.proj(by_torch(qkv, self.bias(visible, bias_rows), self.num_heads))

    def relative_bias(
        self, bias_rows: Int64[Tensor, "*windows places places"] | None = None
    ) -> Float[Tensor, "*windows heads places places"] | None:
        """Return what is learned of how two places lie; None if nothing is."""
        if self.relative_position_bias_table is None:
            return None
        index = square(self.relative_position_index) if bias_rows is None else bias_rows
        return bias_of(self.relative_position_bias_table, index)

    def bias(
        self,
        visible: Bool[Tensor, "windows places places"] | None = None,
        bias_rows: Int64[Tensor, "windows places places"] | None = None,
    ) -> Float[Tensor, "windows_or_1 heads places places"] | None:
        """Return what is added to the scores: relative bias, and what is not seen."""
        bias = self.relative_bias(bias_rows)
        if visible is None:
            return None if bias is None else bias.unsqueeze(0)
        hidden = ~visible.unsqueeze(1)  # (windows, 1, places, places)
        if bias is None:
            bias = self.qkv.weight.new_zeros(self.num_heads, *visible.shape[1:])
        return bias.masked_fill(hidden, float("-inf"))


def attention(
    qkv: Float[Tensor, "batch_windows places three_dim"],
    bias: Float[Tensor, "windows_or_1 heads places places"] | None,
    num_heads: int,
) -> Float[Tensor, "batch_windows places dim"]:
    """Attend in steps: scores, bias, softmax, mean of the values; all heads side by side.

    The last axis of `qkv` is queries, keys and values, each ``heads * head_dim``. Scores and their
    softmax are float32 also under autocast.
    """
    is_recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if qkv.dtype in (torch.float32, torch.float64) and not is_recorded:
        return _Attention.apply(qkv, bias, num_heads)
    return attention_as_written(qkv, bias, num_heads)


def attention_as_written(
    qkv: Float[Tensor, "batch_windows places three_dim"],
    bias: Float[Tensor, "windows_or_1 heads places places"] | None,
    num_heads: int,
) -> Float[Tensor, "batch_windows places dim"]:
    """Attend as one would write it down: what every faster way is held against."""
    q, k, v = by_head(qkv, num_heads)  # each (batch_windows, heads, places, head_dim)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores.unflatten(0, (-1, len(bias))) + bias
        scores = scores.flatten(0, 1)  # (batch_windows, heads, places, places)
    return side_by_side(scores.softmax(-1).to(v.dtype) @ v)


def fused_attention(
    qkv: Float[Tensor, "batch_windows places three_dim"],
    bias: Float[Tensor, "windows_or_1 heads places places"] | None,
    num_heads: int,
) -> Float[Tensor, "batch_windows places dim"]:
    """Attend by one kernel of torch; scores have the type of the queries, and so has the bias."""
    q, k, v = by_head(qkv, num_heads)
    return by_one_kernel(q, k, v, bias)


def by_one_kernel(
    q: Float[Tensor, "batch_windows heads places head_dim"],
    k: Float[Tensor, "batch_windows heads places head_dim"],
    v: Float[Tensor, "batch_windows heads places head_dim"],
    bias: Float[Tensor, "windows_or_1 heads places places"] | None,
    scale: float | None = None,
) -> Float[Tensor, "batch_windows places dim"]:
    """Attend by one kernel of torch, all of the type of the values; scores are by 1 / sqrt(dim)."""
    if bias is not None:
        repeats = len(v) // len(bias) if len(bias) > 1 else 1
        bias = bias.to(v.dtype).repeat(repeats, 1, 1, 1)
    q, k = q.to(v.dtype), k.to(v.dtype)
    return side_by_side(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale))


def square(index: Int64[Tensor, " places*places"]) -> Int64[Tensor, "places places"]:
    """Return an index of each two places, which timm has as one axis, as two."""
    return index.unflatten(0, (math.isqrt(len(index)), -1))


def bias_of(
    table: Float[Tensor, "rows heads"], index: Int64[Tensor, "*windows places places"]
) -> Float[Tensor, "*windows heads places places"]:
    """Take from a table the row of each two places."""
    bias = table.index_select(0, index.flatten()).view(*index.shape, -1)
    return bias.movedim(-1, -3)


def by_head(qkv: Tensor, num_heads: int) -> Any:
    """Return queries, keys and values, (3, batch_windows, heads, places, head_dim)."""
    return qkv.unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)


def side_by_side(heads: Tensor) -> Tensor:
    """Return (batch_windows, heads, places, head_dim) as (batch_windows, places, dim)."""
    return heads.transpose(1, 2).flatten(2)


class _Attention(torch.autograd.Function):
    """`attention_as_written`, with operands that lie together and no copy more than that takes.

    Strided operands make small matrix products several times slower on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor | None, num_heads: int) -> Tensor:
        windows, places, three_dim = qkv.shape
        head_dim = three_dim // 3 // num_heads
        heads = by_head(qkv, num_heads).reshape(3, windows * num_heads, places, head_dim)
        q, k, v = heads
        scale = head_dim**-0.5
        scores = qkv.new_empty(windows * num_heads, places, places)
        if bias is not None:  # what is there is added to at no cost
            scores.view(-1, *bias.shape).copy_(bias)
        scores.baddbmm_(q, k.transpose(1, 2), beta=0 if bias is None else 1, alpha=scale)
        weights = scores.softmax(-1)
        ctx.save_for_backward(heads, weights)
        ctx.num_heads, ctx.scale = num_heads, scale
        ctx.bias_shape = None if bias is None else bias.shape
        return side_by_side((weights @ v).unflatten(0, (windows, num_heads)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        heads, weights = ctx.saved_tensors
        q, k, v = heads
        windows, places, _ = grad.shape
        grad = grad.unflatten(-1, (ctx.num_heads, -1)).transpose(1, 2).reshape(v.shape)
        by_head = torch.empty_like(heads)
        torch.bmm(weights.transpose(1, 2), grad, out=by_head[2])
        by_scores = torch._softmax_backward_data(grad @ v.transpose(1, 2), weights, -1, grad.dtype)
        zero = by_head[0]  # of which nothing is taken
        torch.baddbmm(zero, by_scores, k, beta=0, alpha=ctx.scale, out=by_head[0])
        torch.baddbmm(zero, by_scores.transpose(1, 2), q, beta=0, alpha=ctx.scale, out=by_head[1])
        by_bias = None
        if ctx.bias_shape is not None and ctx.needs_input_grad[1]:
            by_bias = by_scores.view(-1, *ctx.bias_shape).sum(0)
        shape = (3, windows, ctx.num_heads, places, -1)
        by_qkv = by_head.view(shape).permute(1, 3, 0, 2, 4).reshape(windows, places, -1)
        return by_qkv, by_bias, None
