"""Stop "rebuild" on the route: features back to pixels."""

from jaxtyping import Float
from torch import Tensor, nn


class PixelDecoder(nn.Module):
    """Predict every pixel below a position of the encoder's output by one linear layer.

    Source:
        SimMIM, section 3.3 (arXiv:2111.09886); PyTorch's default initialisation, as there.
    """

    def __init__(self, num_features: int, stride: int, in_chans: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_features, stride**2 * in_chans, kernel_size=1)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(
        self, features: Float[Tensor, "batch num_features rows cols"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict the image: height is ``rows * stride``."""
        return self.shuffle(self.conv(features))
