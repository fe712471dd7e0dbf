"""Masks of one square anywhere in the image, of exactly as many patches in every image."""

from math import isqrt

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ssl_swin.models.hashing import draws, image_keys

_PURPOSE = 0x73717561  # "squa" in ASCII


def square_mask(
    index: Int64[Tensor, " batch"],
    epoch: int | Int64[Tensor, " batch"],
    seed: int,
    grid: tuple[int, int],
    num_hidden: int,
) -> Bool[Tensor, "batch rows cols"]:
    """Hide one square at a place of its own in each image.

    Where no square has as many patches, its last row is cut short, which is the upper or the lower
    one, from the left or from the right; where the image is too narrow for it, it is a rectangle.
    Integers alone, as in `random_mask`, whose arguments and result these are.

    Source:
        SimMIM, section 3.2, and the table of masks in section 4 (arXiv:2111.09886), recalled: the
        "square" there is the central region of Context Encoders (arXiv:1604.07379), which moves.
    """
    rows, cols = grid
    width = min(cols, 1 + isqrt(num_hidden - 1))  # of the smallest square that holds them
    height = -(-num_hidden // width)
    if height > rows:
        height, width = rows, -(-num_hidden // rows)
    top, left, flip_rows, flip_cols = draws(image_keys(_PURPOSE, seed, epoch, index), 4).unbind(1)
    row, col = (torch.arange(side, dtype=torch.int64, device=index.device) for side in grid)
    row = row - (top % (rows - height + 1))[:, None]  # (batch, rows), within the square
    col = col - (left % (cols - width + 1))[:, None]  # (batch, cols)
    is_in = ((row >= 0) & (row < height))[:, :, None] & ((col >= 0) & (col < width))[:, None]
    row = torch.where(flip_rows[:, None] % 2 == 1, height - 1 - row, row)
    col = torch.where(flip_cols[:, None] % 2 == 1, width - 1 - col, col)
    number = row[:, :, None] * width + col[:, None]  # (batch, rows, cols)
    return is_in & (number < num_hidden)
