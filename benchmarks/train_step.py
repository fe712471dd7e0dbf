"""One train step, the same for every network that is timed."""

import time
from typing import NamedTuple

import torch
from gpu_limits import synchronize
from torch import Tensor, nn

LR, WEIGHT_DECAY, CLIP_GRAD = 1e-4, 0.05, 5.0


class NotComparable(Exception):
    """Networks that do not compute the same."""


class Given(NamedTuple):
    """What a network is called with to return the loss of a step."""

    images: Tensor  # float (batch, 3, rows, cols), normalised
    mask: Tensor  # bool (batch, rows, cols), in mask patches, True where hidden


class TrainStep:
    """Forward, backward, clipping by the norm, fused AdamW, gradients set to None."""

    def __init__(self, network: nn.Module, given: Given, bf16: bool = False) -> None:
        self.network, self.given, self.bf16 = network, given, bf16
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True
        )

    def loss(self) -> Tensor:
        """Return the loss of the step, ready for the backward."""
        with torch.autocast(self.given.images.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network(*self.given)

    def __call__(self) -> Tensor:
        """Take the step; return its loss."""
        loss = self.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_GRAD)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def timed_ms(step: TrainStep) -> float:
    """Take a step; return how long it took."""
    device = step.given.images.device
    synchronize(device)
    began = time.perf_counter()
    step()
    synchronize(device)
    return 1000 * (time.perf_counter() - began)


def turns(number: int, count: int) -> list[int]:
    """Return the order of sides in a round; over `2 * count` rounds each follows all others alike.

    Source:
        Williams (1949), designs balanced for what is left of the treatment before.
    """
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    order = [(place + number) % count for place in first]
    return order[::-1] if number // count % 2 else order
