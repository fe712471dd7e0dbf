"""Stop "encode" on the route: tokens from one order into another."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ssl_swin.models.windows import EMPTY, find


class Move(nn.Module):
    """Take tokens from one order into another, in one gather; its backward is one, too.

    An order is an array of tokens, in which some places may be `EMPTY`: zeros are put there.
    """

    def __init__(self, held: np.ndarray, wanted: np.ndarray) -> None:
        """Move tokens that lie as `held` to where they lie as `wanted`."""
        super().__init__()
        take, back = find(held, wanted), find(wanted, held)
        self.is_needed = not np.array_equal(held, wanted)
        self.fills, self.drops = bool((take == EMPTY).any()), bool((back == EMPTY).any())
        self.register_buffer("take", _indices(take, self.is_needed), persistent=False)
        self.register_buffer("back", _indices(back, self.is_needed), persistent=False)

    def forward(self, x: Float[Tensor, "batch held dim"]) -> Float[Tensor, "batch wanted dim"]:
        """Put the tokens where they are wanted."""
        if not self.is_needed:
            return x
        if torch.jit.is_tracing():  # TorchScript knows nothing of functions with a backward
            return _gather(x, self.get_buffer("take"), self.fills)
        return _Move.apply(x, self.take, self.back, self.fills, self.drops)


def move(
    x: Float[Tensor, "batch held dim"],
    take: Int64[Tensor, " wanted"],
    back: Int64[Tensor, " held"],
    fills: bool = False,
    drops: bool = False,
) -> Float[Tensor, "batch wanted dim"]:
    """Put tokens where they are wanted, as `Move` does, by numbers that are known only then.

    Args:
        x: Tokens.
        take: The place of each wanted one among those held; `EMPTY` for a zero.
        back: The place of each one held among the wanted; `EMPTY` for one that is not there.
        fills: Whether some of `take` are empty.
        drops: Whether some of `back` are.
    """
    return _Move.apply(x, take, back, fills, drops)


class _Move(torch.autograd.Function):
    """A gather by `take`, whose gradient is a gather by `back` and not a sum over places."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, take: Tensor, back: Tensor, fills: bool, drops: bool
    ) -> Tensor:
        ctx.save_for_backward(back)
        ctx.drops = drops
        return _gather(x, take, fills)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (back,) = ctx.saved_tensors
        return _gather(grad, back, ctx.drops), None, None, None, None


def _indices(places: np.ndarray, are_needed: bool) -> Tensor | None:
    return torch.from_numpy(places) if are_needed else None


def _gather(x: Tensor, places: Tensor, some_empty: bool) -> Tensor:
    if not some_empty:
        return x.index_select(1, places)
    return x.index_select(1, places.clamp(min=0)).masked_fill((places == EMPTY).unsqueeze(-1), 0)
