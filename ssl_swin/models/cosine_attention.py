"""Stop "encode" on the route: attention within windows by cosines, as in Swin V2."""

import math
from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_swin.models.attention import bias_of, by_head, by_one_kernel, side_by_side, square
from ssl_swin.models.windows import Sides, relative_positions

LARGEST_SCALE = 100.0  # of cosines
LARGEST_BIAS = 16.0
HIDDEN = -100.0  # added to scores of what is not seen; with the largest scale, a little is
_HIDDEN_DIM = 512  # of the network that makes the bias
_REACH = 8  # coordinates at the edge of a window of pretraining, before their logarithm


class CosineAttention(nn.Module):
    """Multi-head self-attention within windows, by learned multiples of cosines.

    A small network makes the position bias, from 0 to 16, of log-spaced coordinates: where two
    tokens lie, in parts of the window of pretraining. So other windows have the same network. Keys
    have no bias. Names of parameters are timm's. With `fused_attn`, torch's kernel computes it.

    Source:
        Swin V2, sections 3.2 and 3.3 (arXiv:2111.09883), and its code,
        models/swin_transformer_v2.py, ``WindowAttention``.
    """

    relative_position_index: Tensor
    coordinates: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sides,
        relative_bias: bool,
        pretrained: Sides,
        hides_all: bool = False,
    ) -> None:
        """Attend among the ``rows * columns`` places of a window, in heads that divide `dim`.

        Args:
            dim: Channels of a token.
            num_heads: Heads.
            window_size: Rows and columns.
            relative_bias: Whether there is one.
            pretrained: Rows and columns that coordinates are scaled by.
            hides_all: Whether what is not seen is not seen at all; else `HIDDEN` is added to its
                scores, as the published code does.
        """
        super().__init__()
        self.num_heads, self.window_size = num_heads, window_size
        self.hidden, self.fused_attn = float("-inf") if hides_all else HIDDEN, False
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10)))
        self.cpb_mlp: nn.Module | None = None
        if relative_bias:
            self.cpb_mlp = nn.Sequential(
                nn.Linear(2, _HIDDEN_DIM), nn.ReLU(), nn.Linear(_HIDDEN_DIM, num_heads, bias=False)
            )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)
        spaced = torch.from_numpy(log_spaced(window_size, pretrained))
        self.register_buffer("coordinates", spaced, persistent=False)
        positions = torch.from_numpy(relative_positions(window_size).ravel())
        self.register_buffer("relative_position_index", positions, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch_windows places dim"],
        visible: Bool[Tensor, "windows places places"] | None = None,
        bias_rows: Int64[Tensor, "windows places places"] | None = None,
    ) -> Float[Tensor, "batch_windows places dim"]:
        """Attend; windows of one image follow one another.

        As `WindowAttention`. Vectors are normed in float32 also under autocast, and products alone
        are not float32.
        """
        no_bias = torch.zeros_like(self.v_bias)
        qkv = F.linear(x, self.qkv.weight, torch.cat([self.q_bias, no_bias, self.v_bias]))
        q, k, v = by_head(qkv, self.num_heads).contiguous()
        exact = torch.promote_types(v.dtype, torch.float32)
        q, k = F.normalize(q.to(exact), dim=-1), F.normalize(k.to(exact), dim=-1)
        scale = self.logit_scale.clamp(max=math.log(LARGEST_SCALE)).exp()  # (heads, 1, 1)
        added = self.bias(visible, bias_rows)
        if self.fused_attn:
            return self.proj(by_one_kernel(q * scale, k, v, added, scale=1.0))
        scores = (q @ k.transpose(-2, -1)) * scale
        if added is not None:
            scores = (scores.unflatten(0, (-1, len(added))) + added).flatten(0, 1)
        return self.proj(side_by_side(scores.softmax(-1).to(v.dtype) @ v))

    def relative_bias(
        self, bias_rows: Int64[Tensor, "*windows places places"] | None = None
    ) -> Float[Tensor, "*windows heads places places"] | None:
        """Return what is added for how two places lie; None if nothing is.

        In the precision of the weights also under autocast.
        """
        if self.cpb_mlp is None:
            return None
        device = self.coordinates.device.type
        autocasts = device != "meta" and torch.is_autocast_enabled(device)  # meta knows none
        with torch.autocast(device, enabled=False) if autocasts else nullcontext():
            table = LARGEST_BIAS * self.cpb_mlp(self.coordinates).sigmoid()
        index = square(self.relative_position_index) if bias_rows is None else bias_rows
        return bias_of(table, index)

    def bias(
        self,
        visible: Bool[Tensor, "windows places places"] | None = None,
        bias_rows: Int64[Tensor, "windows places places"] | None = None,
    ) -> Float[Tensor, "windows_or_1 heads places places"] | None:
        """Return what is added to the scores: the position bias, and what is not seen.

        Of places of other windows, which `bias_rows` may have, nothing at all is seen.
        """
        bias = self.relative_bias(bias_rows)
        if visible is None:
            return None if bias is None else bias.unsqueeze(0)
        hidden = self.hidden if bias_rows is None else float("-inf")
        unseen = torch.zeros_like(visible, dtype=self.logit_scale.dtype)
        unseen = unseen.masked_fill(~visible, hidden).unsqueeze(1)  # (windows, 1, ...)
        return unseen.expand(-1, self.num_heads, -1, -1) if bias is None else bias + unseen


def log_spaced(window: Sides, pretrained: Sides) -> Float[np.ndarray, "displacements 2"]:
    """Return how far two places of a window can lie apart, down and to the right.

    A row for each of ``(2 * rows - 1) * (2 * columns - 1)`` displacements, as `relative_positions`
    counts them. At the edge of a window of pretraining it is ``log2(9) / 3``.

    In float32 step by step, as its code has them: rounded once at the end they are so much others
    that features of large windows are, too, by more than 1e-5. Logarithms alone are rounded from
    float64, which gives the same bits on all machines.

    Source:
        Swin V2, section 3.3, "log-spaced coordinates", equation 4; the factors from its code.
    """
    axes = []
    for side, scale in zip(window, pretrained, strict=True):
        places = np.arange(1 - side, side, dtype=np.float32) / np.float32(max(scale - 1, 1))
        places *= np.float32(_REACH)
        logarithms = np.log2((np.abs(places) + np.float32(1)).astype(np.float64))
        spaced = np.sign(places) * logarithms.astype(np.float32)
        axes.append(spaced / np.float32(math.log2(_REACH)))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
