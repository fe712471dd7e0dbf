"""A mask of neighbouring patches. Its line in the table: MASKS["toy"] = toy_mask."""

import torch


def toy_mask(index, epoch, seed, grid, num_hidden):
    """Hide patches that follow each other, from a place that moves with image, epoch and seed."""
    num_patches = grid[0] * grid[1]
    place = torch.arange(num_patches, device=index.device)  # (num_patches,)
    first = (index * 5 + epoch * 3 + seed) % num_patches  # (batch,)
    return ((place - first[:, None]) % num_patches < num_hidden).view(-1, *grid)
