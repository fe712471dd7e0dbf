"""Stop "rebuild" on the route: features back to pixels."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PixelDecoder(nn.Module):
    """Predict every pixel below a position of the encoder's output by one linear layer.

    The weights are a convolution's of one position. It is computed as a matrix product, which is
    faster, unless `convolves`, as runs of releases before 0.3 did; that rounds otherwise.

    Source:
        SimMIM, section 3.3 (arXiv:2111.09886); PyTorch's default initialisation, as there.
    """

    def __init__(self, num_features: int, stride: int, in_chans: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_features, stride**2 * in_chans, kernel_size=1)
        self.shuffle = nn.PixelShuffle(stride)
        self.convolves = False

    def forward(
        self, features: Float[Tensor, "batch num_features rows cols"]
    ) -> Float[Tensor, "batch chans height width"]:
        """Predict the image: height is ``rows * stride``."""
        if self.convolves:
            return self.shuffle(self.conv(features))
        positions = features.permute(0, 2, 3, 1)  # (batch, rows, cols, num_features)
        pixels = F.linear(positions, self.conv.weight.flatten(1), self.conv.bias)
        return self.shuffle(pixels.permute(0, 3, 1, 2))
