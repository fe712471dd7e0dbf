"""The moving average of weights: one update after each step; it is measured in their place."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssl_swin.training.fsdp import on_this_rank
from ssl_swin.training.optim import like


class WeightAverage:
    """The exponential moving average of what is trained; a step that changes nothing leaves it.

    After step `s` it goes to the weights by ``1 - min(decay, (1 + s) / (10 + s))`` of the way, so
    that a short training does not end near where it began. What does not change, it equals to the
    bit. Of weights in parts each rank has its part.

    Args:
        parameters: What is trained, by name, where it stays.
        decay: In (0, 1); what it keeps of itself at each step, later on.
        state: Of a checkpoint, whole; None to begin with the weights.

    Source:
        timm's ModelEmaV3 with warm-up as TensorFlow's ExponentialMovingAverage has it.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        decay: float,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.parameters, self.decay = dict(parameters), decay
        self.weights: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            weight = parameter.detach().clone()
            if state is not None and name in state:
                weight.copy_(like(parameter, state[name]))
            self.weights[name] = weight

    def decay_after(self, step: int) -> float:
        """Return the decay after so many steps, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int, finite: Tensor) -> None:
        """Follow the weights after a step, if it was `finite`: a bool on the device, not asked."""
        weights, average = self._here()
        way = finite.to(weights[0].dtype) * (1 - self.decay_after(step))
        change = torch._foreach_sub(weights, average)
        torch._foreach_mul_(change, way)
        torch._foreach_add_(average, change)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average in the place of the weights, and these in its; twice is as before."""
        for weight, average in zip(*self._here(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _here(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return what of weights and average is on this rank."""
        weights = [on_this_rank(one) for one in self.parameters.values()]
        return weights, [on_this_rank(one) for one in self.weights.values()]
