"""Stop "rebuild" on the route: features back to pixels, or to what else is predicted."""

from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_swin.errors import UserError
from ssl_swin.models.windows import Sides


class DecoderShape(NamedTuple):
    """What a decoder gets, and what it makes of it."""

    num_features: int
    """Channels of the map."""
    upscale: int
    """Positions of the prediction to a side of one of the map."""
    num_chans: int
    """Numbers at a position of the prediction."""
    norms: bool
    """Whether the map has no norm yet: it is not the encoder's output."""
    grid: Sides
    """Rows and columns of the map."""
    leaves_out: bool = False
    """Whether the encoder makes nothing of hidden positions."""


class PooledDecoder(nn.Module):
    """Predict one vector of an image by one linear layer, from the mean of a map.

    Source:
        GFM (arXiv:2302.04476) and its code; no norm comes before, as there.
    """

    def __init__(self, num_features: int, num_chans: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_chans)

    def forward(
        self,
        features: Float[Tensor, "batch num_features rows cols"],
        hidden: Bool[Tensor, "rows cols"] | None = None,
    ) -> Float[Tensor, "batch num_chans 1 1"]:
        """Predict it; positions of which the encoder made nothing are in no mean."""
        if hidden is None:
            mean = features.mean((2, 3))
        else:
            mean = (features * ~hidden).sum((2, 3)) / (~hidden).sum()
        return self.linear(mean)[:, :, None, None]


class Decoder(nn.Module):
    """Predict what lies below a position of an encoder's map by one linear layer.

    A position becomes ``upscale`` by ``upscale`` of the prediction's, `num_chans` numbers each: of
    pixels, as many as the map's stride.

    The weights are a convolution's of one position. It is computed as a matrix product, which is
    faster, unless `convolves`, as runs of releases before 0.3 did; that rounds otherwise. With
    `norms`, a layer norm comes first: for maps that are not the encoder's output, which has one.

    Source:
        SimMIM, section 3.3 (arXiv:2111.09886); PyTorch's default initialisation, as there. The norm
        is ours.
    """

    def __init__(
        self, num_features: int, upscale: int, num_chans: int = 3, norms: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features) if norms else None
        self.conv = nn.Conv2d(num_features, upscale**2 * num_chans, kernel_size=1)
        self.shuffle = nn.PixelShuffle(upscale)
        self.convolves = False

    def forward(
        self, features: Float[Tensor, "batch num_features rows cols"]
    ) -> Float[Tensor, "batch num_chans new_rows new_cols"]:
        """Predict; ``new_rows = rows * upscale``."""
        positions = features.permute(0, 2, 3, 1)  # (batch, rows, cols, num_features)
        if self.norm is not None:
            positions = self.norm(positions)
        if self.convolves:
            return self.shuffle(self.conv(positions.permute(0, 3, 1, 2)))
        numbers = F.linear(positions, self.conv.weight.flatten(1), self.conv.bias)
        return self.shuffle(numbers.permute(0, 3, 1, 2))


def linear(shape: DecoderShape, **_others: Any) -> Decoder:
    """Make a `Decoder`.

    Raises:
        UserError: If nothing is made of hidden positions, each of which it sees by itself.
    """
    if shape.leaves_out:
        raise UserError(
            "decoder.kind=linear sees each position by itself, and with mask.token=none nothing "
            "comes of a hidden one; give decoder.kind=transformer, or another mask.token"
        )
    return Decoder(shape.num_features, shape.upscale, shape.num_chans, shape.norms)
