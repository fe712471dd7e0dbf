"""Stop "mask" on the route: what is hidden, in mask patches, tokens and pixels."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.block_mask import block_mask
from ssl_swin.models.hashing import draws, image_keys
from ssl_swin.models.no_mask import no_mask
from ssl_swin.models.square_mask import square_mask

Mask = Callable[[Tensor, Tensor | int, int, tuple[int, int], int], Tensor]
"""(index, epoch, seed, grid, num_hidden) -> bool (batch, rows, cols), as :func:`random_mask` says.

Every kind hides exactly `num_hidden` patches in every image, which is 0 of :func:`no_mask`, so what
a loss is divided by is known without asking other ranks.
"""

_PURPOSE = 0x6D61736B  # "mask" in ASCII: keeps these draws apart from every other use of the seed


def grid(img_size: int | tuple[int, int], mask_patch_size: int) -> tuple[int, int]:
    """Count the rows and columns of mask patches: (6, 6) for 192-pixel images, 32-pixel patches.

    The image size in pixels is its side, or (rows, columns).

    Raises:
        UserError: If mask patches do not tile the image.
    """
    rows_px, cols_px = (img_size, img_size) if isinstance(img_size, int) else img_size
    if mask_patch_size < 1 or rows_px % mask_patch_size or cols_px % mask_patch_size:
        raise UserError(
            f"mask_patch_size={mask_patch_size} does not divide img_size={img_size}; "
            "choose a mask_patch_size that divides both sides of the image"
        )
    return rows_px // mask_patch_size, cols_px // mask_patch_size


def check_mask_patch_size(
    img_size: int | tuple[int, int], patch_size: int, mask_patch_size: int
) -> None:
    """Refuse sizes in pixels with which mask patches, tokens and pixels do not tile each other.

    Raises:
        UserError: If mask_patch_size does not divide img_size, or patch_size mask_patch_size.

    Source:
        SimMIM code, data/data_simmim.py, where these are assertions.
    """
    grid(img_size, mask_patch_size)
    if patch_size < 1 or mask_patch_size % patch_size:
        raise UserError(
            f"patch_size={patch_size} does not divide mask_patch_size={mask_patch_size}; "
            f"choose a mask_patch_size that is a multiple of {patch_size}"
        )


def count_hidden(grid: tuple[int, int], mask_ratio: float) -> int:
    """Count the mask patches to hide in each image: ``ceil(mask_ratio * rows * cols)``.

    Raises:
        UserError: If the ratio hides nothing, or everything, on this grid.
    """
    num_patches = grid[0] * grid[1]
    hidden = math.ceil(mask_ratio * num_patches) if math.isfinite(mask_ratio) else 0
    if not 0 < hidden < num_patches:
        raise UserError(
            f"mask_ratio={mask_ratio} hides {hidden} of {num_patches} mask patches; "
            "hide at least one and leave at least one"
        )
    return hidden


def random_mask(
    index: Int64[Tensor, " batch"],
    epoch: int | Int64[Tensor, " batch"],
    seed: int,
    grid: tuple[int, int],
    num_hidden: int,
) -> Bool[Tensor, "batch rows cols"]:
    """Hide the same number of mask patches in every image, at independent places.

    Each patch gets an integer key, a hash of ``(seed, epoch, index, place)``; the smallest keys are
    hidden. Integer arithmetic alone, so every device, and every split of the batch, agrees.

    Args:
        index: Each image's place in the shard set; the mask depends on nothing else that varies.
        epoch: Counted from 0, one for all or one for each; a new epoch hides other patches.
        seed: The run's seed.
        grid: Rows and columns of mask patches.
        num_hidden: Mask patches to hide in each image, from :func:`count_hidden`.

    Returns:
        True where hidden, on the device of ``index``.

    Source:
        SimMIM, section 3.2 (arXiv:2111.09886). The official code draws from numpy's global
        generator instead, so the same share is hidden but not the same patches.
    """
    num_patches = grid[0] * grid[1]
    image_key = image_keys(_PURPOSE, seed, epoch, index)
    keys = draws(image_key, num_patches)  # (batch, num_patches)
    hidden = keys.argsort(dim=1, stable=True)[:, :num_hidden]  # (batch, num_hidden), places
    mask = torch.zeros(len(index), num_patches, dtype=torch.bool, device=index.device)
    return mask.scatter_(1, hidden, True).view(-1, *grid)  # (batch, rows, cols)


MASKS: dict[str, Mask] = {
    "random": random_mask,
    "block": block_mask,
    "square": square_mask,
    "none": no_mask,
}
"""Name of a kind of mask -> its function."""


def hidden_by(kind: Mask, grid: tuple[int, int], mask_ratio: float) -> int:
    """Count the mask patches that a kind of mask hides in each image; without masks that is 0.

    Raises:
        UserError: If the ratio of one that hides hides nothing, or everything.
    """
    return 0 if kind is no_mask else count_hidden(grid, mask_ratio)


def to_tokens(
    mask: Bool[Tensor, "batch rows cols"], tokens_per_side: int
) -> Bool[Tensor, "batch token_rows token_cols"]:
    """Give every token its mask patch's value; ``mask_patch_size // patch_size`` tokens a side."""
    rows = mask.repeat_interleave(tokens_per_side, 1)  # (batch, token_rows, cols)
    return rows.repeat_interleave(tokens_per_side, 2)  # (batch, token_rows, token_cols)


def to_cells(
    mask: Bool[Tensor, "batch rows cols"], mask_patch_size: int, cell_size: int
) -> Bool[Tensor, "batch cell_rows cell_cols"]:
    """Give every cell of a target its mask patch's value; its side divides the mask patch's."""
    return to_tokens(mask, mask_patch_size // cell_size)


def to_pixels(
    mask: Bool[Tensor, "batch rows cols"], mask_patch_size: int
) -> Bool[Tensor, "batch height width"]:
    """Give every pixel its mask patch's value."""
    return to_cells(mask, mask_patch_size, 1)
