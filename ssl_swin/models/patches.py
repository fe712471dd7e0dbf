"""Stop "encode" on the route: pixels to tokens, and later four tokens to one."""

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_swin.models.moves import Move
from ssl_swin.models.windows import Sides, merged, raster


class PatchEmbed(nn.Module):
    """Cut images into patches and make a token of each, by one linear layer and, in a Swin, a norm.

    The weights are a convolution's, as in timm; patches do not overlap, so it is a matrix product.

    Source:
        Swin, section 3.1, "patch partition" and "linear embedding" (arXiv:2103.14030).
    """

    def __init__(
        self,
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        grid: Sides,
        wanted: np.ndarray,
        has_norm: bool = True,
    ) -> None:
        """Make tokens of images, in the order in which they are wanted.

        Args:
            patch_size: Side of a patch in pixels.
            in_chans: Channels of an image.
            embed_dim: Channels of a token.
            grid: Rows and columns of tokens.
            wanted: The order of the tokens; none is empty.
            has_norm: Whether tokens are normed.
        """
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.arrange = Move(raster(grid), wanted)
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.norm = nn.LayerNorm(embed_dim) if has_norm else nn.Identity()

    def forward(
        self,
        images: Float[Tensor, "batch chans height width"],
        only: Int64[Tensor, " tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """Return the tokens in their order; or `only` those, counted row by row, in theirs."""
        side = self.patch_size[0]
        patches = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        # (batch, chans, rows, side, cols, side) -> (batch, tokens, chans * side * side)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        patches = self.arrange(patches) if only is None else patches.index_select(1, only)
        return self.norm(F.linear(patches, self.proj.weight.flatten(1), self.proj.bias))


class PatchMerging(nn.Module):
    """Make one token of each square of four, with twice the channels.

    Source:
        Swin, section 3.1, "patch merging layers" (arXiv:2103.14030); of version 2, its code,
        models/swin_transformer_v2.py.
    """

    def __init__(
        self, dim: int, grid: Sides, held: np.ndarray, wanted: np.ndarray, norms_after: bool = False
    ) -> None:
        """Merge tokens of a grid.

        Args:
            dim: Channels of a token before.
            grid: Rows and columns of tokens before.
            held: The order in which they come.
            wanted: The order in which merged ones are wanted; none is empty.
            norms_after: Whether channels are normed once they are fewer, as in version 2.
        """
        super().__init__()
        self.norms_after = norms_after
        self.norm = nn.LayerNorm((2 if norms_after else 4) * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.gather = Move(held, merged(grid)[wanted].ravel())

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        fours: Int64[Tensor, " merged*4"] | None = None,
    ) -> Float[Tensor, "batch merged _"]:
        """Return the merged tokens, which have ``2 * dim`` channels.

        `fours` says which tokens are merged, four by four, where only some are there.
        """
        taken = self.gather(x) if fours is None else x.index_select(1, fours)
        squares = taken.unflatten(1, (-1, 4)).flatten(2)  # (batch, merged, 4 * dim)
        if self.norms_after:
            return self.norm(self.reduction(squares))
        return self.reduction(self.norm(squares))


def check_images(images: Tensor, in_chans: int, img_size: Sides) -> None:
    """Refuse images that an encoder was not built for.

    Raises:
        ValueError: If they have other channels, rows or columns.
    """
    if images.shape[1:] != (in_chans, *img_size):
        raise ValueError(
            f"images of shape {tuple(images.shape)}, but this encoder takes "
            f"(batch, {in_chans}, {img_size[0]}, {img_size[1]}); "
            "resize the images or build the encoder with their img_size and in_chans"
        )
