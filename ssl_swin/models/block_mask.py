"""Masks of a few blocks, as BEiT's, of exactly as many patches in every image."""

from math import isqrt

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ssl_swin.models.hashing import draws, image_keys

_PURPOSE = 0x626C6F63  # "bloc" in ASCII
_NUM_BLOCKS = 32  # that are drawn; what they leave open of what is to be hidden is drawn patchwise


def block_mask(
    index: Int64[Tensor, " batch"],
    epoch: int | Int64[Tensor, " batch"],
    seed: int,
    grid: tuple[int, int],
    num_hidden: int,
) -> Bool[Tensor, "batch rows cols"]:
    """Hide blocks at places of their own, one after the other, until as many patches are hidden.

    Each side of a block is drawn by itself: from a third to the whole of that of a block which has
    the image's shape and hides all of them; so on square images blocks are up to three times as
    wide as high, or as high as wide. It may reach over the border, so that each place is hidden
    nearly equally often: the last block is cut short, row by row, so lower places are a little less
    often. Integers alone, as in `random_mask`, whose arguments and result these are.

    Source:
        BEiT, section 2.2 and algorithm 1 (arXiv:2106.08254), recalled: blocks of an aspect from 0.3
        to 1 / 0.3 until 40 % are hidden. There the number differs from image to image, and blocks
        lie within the image, so that its middle is hidden more often.
    """
    rows, cols = grid
    largest = (
        min(rows, max(1, isqrt(num_hidden * rows // cols))),
        min(cols, max(1, isqrt(num_hidden * cols // rows))),
    )
    keys = image_keys(_PURPOSE, seed, epoch, index)
    drawn = draws(keys, 4 * _NUM_BLOCKS).view(-1, 4, _NUM_BLOCKS)
    is_in = [
        _spans(drawn[:, axis], drawn[:, 2 + axis], largest[axis], grid[axis]) for axis in (0, 1)
    ]  # (batch, blocks, rows) and (batch, blocks, cols)
    covers = is_in[0][..., None] & is_in[1][:, :, None]  # (batch, blocks, rows, cols)
    number = torch.arange(_NUM_BLOCKS, dtype=torch.int64, device=index.device).view(1, -1, 1, 1)
    first = torch.where(covers, number, _NUM_BLOCKS).amin(1).flatten(1)  # (batch, patches)
    num_patches = rows * cols
    place = torch.arange(num_patches, dtype=torch.int64, device=index.device)
    # of the patches of no block, a drawn order; of a block's, row by row
    open_order = draws(keys, num_patches, after=4 * _NUM_BLOCKS).argsort(dim=1, stable=True)
    open_order = open_order.argsort(dim=1)  # place -> its number in that order
    order = first * num_patches + torch.where(first == _NUM_BLOCKS, open_order, place)
    hidden = order.argsort(dim=1)[:, :num_hidden]  # (batch, num_hidden), places
    mask = torch.zeros(len(index), num_patches, dtype=torch.bool, device=index.device)
    return mask.scatter_(1, hidden, True).view(-1, rows, cols)


def _spans(
    length_draw: Tensor, start_draw: Tensor, largest: int, side: int
) -> Bool[Tensor, "batch blocks side"]:
    """Say which rows, or columns, each block takes."""
    smallest = -(-largest // 3)
    length = smallest + length_draw % (largest - smallest + 1)  # (batch, blocks)
    start = start_draw % (side + length - 1) - (length - 1)
    at = torch.arange(side, dtype=torch.int64, device=length.device)
    after = at - start[..., None]  # (batch, blocks, side)
    return (after >= 0) & (after < length[..., None])
