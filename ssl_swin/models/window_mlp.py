"""Stop "encode" on the route: the tokens of a window mixed by a linear layer."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssl_swin.models.windows import Sides


class WindowMLP(nn.Module):
    """Mix the places of a window with learned weights, which are another matrix for each head.

    What is not there is 0, so windows are padded where they are shifted: with weights that are the
    same for all windows nothing can be hidden from one.

    Source:
        Swin, appendix A3.3, "Swin-Mixer" (arXiv:2103.14030), and its code, models/swin_mlp.py,
        whose convolution it is; names and shapes of the weights are from there.
    """

    def __init__(self, num_heads: int, window_size: Sides) -> None:
        """Mix ``rows * columns`` places; heads divide the channels."""
        super().__init__()
        self.num_heads, self.places = num_heads, window_size[0] * window_size[1]
        mixed = num_heads * self.places
        self.spatial_mlp = nn.Conv1d(mixed, mixed, kernel_size=1, groups=num_heads)

    def forward(
        self,
        x: Float[Tensor, "batch_windows places dim"],
        visible: Bool[Tensor, "windows places places"] | None = None,
    ) -> Float[Tensor, "batch_windows places dim"]:
        """Mix each window's places; all must be seen.

        Raises:
            ValueError: If something is not to be seen.
        """
        if visible is not None:
            raise ValueError("a WindowMLP can hide nothing; pad shifted windows instead")
        heads = x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (windows, heads, places, _)
        weight = self.spatial_mlp.weight.view(self.num_heads, self.places, self.places)
        assert self.spatial_mlp.bias is not None
        mixed = torch.matmul(weight, heads) + self.spatial_mlp.bias.view(self.num_heads, -1, 1)
        return mixed.transpose(1, 2).flatten(2)
