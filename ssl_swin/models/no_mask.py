"""Stop "mask" on the route: nothing is hidden."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def no_mask(
    index: Int64[Tensor, " batch"],
    _epoch: int | Int64[Tensor, " batch"],
    _seed: int,
    grid: tuple[int, int],
    _num_hidden: int = 0,
) -> Bool[Tensor, "batch rows cols"]:
    """Hide nothing, so that all is predicted from the whole image.

    Source:
        Feature Distillation, section 3 (arXiv:2205.14141).
    """
    return torch.zeros(len(index), *grid, dtype=torch.bool, device=index.device)
