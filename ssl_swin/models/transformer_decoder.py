"""Stop "rebuild" on the route: a few blocks of a ViT that predict what was hidden."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from timm.layers import trunc_normal_
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.decoder import DecoderShape
from ssl_swin.models.vit_block import EPS, BlockSizes, ViTBlock
from ssl_swin.models.windows import Sides

Positions = Literal["none", "sin-cos"]
_LONGEST = 10_000  # of the waves' lengths, over 2 pi


class TransformerDecoder(nn.Module):
    """Predict what lies below each position of a map from all positions of it.

    A linear layer to `dim` channels, `depth` blocks of a ViT, a layer norm, and a linear layer to
    the prediction's numbers, which lie as a `Decoder`'s. Where the map has no norm yet, one comes
    first.

    Linear layers start truncated normal with standard deviation 0.02, biases at 0: ours, as the
    encoder's. Blocks are neither compiled nor checkpointed.

    Source:
        MAE, section 3, "MAE decoder" (arXiv:2111.06377); FastMIM (arXiv:2212.06593) has four blocks
        without positions, LocalMIM (arXiv:2303.05251) one with fixed positions. A learned token
        stands where an encoder of visible tokens alone has made nothing. The first norm is ours.
    """

    positions: Tensor | None

    def __init__(
        self,
        shape: DecoderShape,
        dim: int = 256,
        depth: int = 4,
        num_heads: int = 8,
        positions: Positions = "none",
        **_others: Any,
    ) -> None:
        """Build it for maps of a shape; `positions` says what is added to each token for its place.

        Raises:
            UserError: If heads do not divide the channels, or waves of two axes do not.
        """
        super().__init__()
        if dim % num_heads:
            raise UserError(
                f"decoder.num_heads={num_heads} does not divide the {dim} channels of a decoder; "
                "choose decoder.dim, or decoder_dim of a head, as a multiple"
            )
        self.norm_before = nn.LayerNorm(shape.num_features) if shape.norms else nn.Identity()
        self.embed = nn.Linear(shape.num_features, dim)
        self.mask_token: nn.Parameter | None = None
        if shape.leaves_out:
            if positions == "none":
                raise UserError(
                    "with mask.token=none a decoder tells hidden positions apart by their places "
                    "alone; give decoder.positions=sin-cos"
                )
            self.mask_token = nn.Parameter(trunc_normal_(torch.empty(dim), std=0.02))
        places = sin_cos(shape.grid, dim) if positions == "sin-cos" else None
        self.register_buffer("positions", places, persistent=False)
        sizes = BlockSizes(dim, num_heads, drop_path_rate=0.0)
        self.blocks = nn.Sequential(*(ViTBlock(sizes) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, EPS)
        self.predict = nn.Linear(dim, shape.upscale**2 * shape.num_chans)
        self.shuffle = nn.PixelShuffle(shape.upscale)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        features: Float[Tensor, "batch num_features rows cols"],
        hidden: Bool[Tensor, "rows cols"] | None = None,
    ) -> Float[Tensor, "batch num_chans new_rows new_cols"]:
        """Predict; ``new_rows = rows * upscale``.

        `hidden` says where nothing was made of any image: a learned token stands there.
        """
        grid = features.shape[2:]
        x = self.embed(self.norm_before(features.flatten(2).mT))  # (batch, rows * cols, dim)
        if hidden is not None and self.mask_token is not None:
            x = torch.where(hidden.view(-1, 1), self.mask_token.to(x.dtype), x)
        if self.positions is not None:
            x = x + self.positions
        numbers = self.predict(self.norm(self.blocks(x)))
        return self.shuffle(numbers.mT.unflatten(2, grid))


def sin_cos(grid: Sides, dim: int) -> Float[Tensor, "tokens dim"]:
    """Return waves of each place: half of the channels along rows, half along columns.

    Each half is sines, then cosines, of waves from a length of 2 pi places to 10,000 times that.

    Raises:
        UserError: If the channels are no multiple of 4.

    Source:
        The transformer, section 3.5 (arXiv:1706.03762); for two axes MoCo v3 (arXiv:2104.02057).
    """
    if dim % 4:
        raise UserError(
            f"decoder.positions=sin-cos: {dim} channels are no multiple of 4; choose decoder.dim, "
            "or decoder_dim of a head, so"
        )
    rates = _LONGEST ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    axes = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    angles = [axis.flatten().unsqueeze(1) * rates for axis in axes]  # each (tokens, dim / 4)
    waves = [wave(one) for one in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, 1).to(torch.get_default_dtype())
