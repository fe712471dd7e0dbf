"""The loss scale of fp16, whose small gradients would round to nothing; it stays on the device."""

import torch
from torch import Tensor

INITIAL = 2.0**16
SMALLEST, LARGEST = 1.0, 2.0**32
GROWS_AFTER = 2000  # steps in a row whose gradient is finite


class LossScale:
    """A power of two that the loss is multiplied with: as large as lets the gradient be finite.

    A step whose gradient is not finite halves it; many finite ones in a row double it. It stays
    between `SMALLEST` and `LARGEST`, so what is not finite at the smallest was not its doing.

    Args:
        device: Where it stays; nothing here waits for it.
        state: What `state` returned; None for a new one.

    Source:
        torch.amp.GradScaler, whose factors and interval these are. It knows no bounds, and asks the
        device at each step.
    """

    def __init__(self, device: torch.device, state: dict[str, Tensor] | None = None) -> None:
        state = state or {
            "scale": torch.tensor(INITIAL, dtype=torch.float32),
            "finite_in_a_row": torch.tensor(0),
            "overflow_steps": torch.tensor(0),
        }
        self.scale = state["scale"].to(device)
        self.finite_in_a_row = state["finite_in_a_row"].to(device)
        self.overflow_steps = state["overflow_steps"].to(device)  # of all lives

    def state(self) -> dict[str, Tensor]:
        """Return what another begins with, to be kept in a checkpoint."""
        names = ("scale", "finite_in_a_row", "overflow_steps")
        return {name: getattr(self, name) for name in names}

    def update(self, finite: Tensor) -> Tensor:
        """Adapt to a step whose gradient was finite, or was not, a bool on the device.

        Returns:
            Whether it was an overflow: not finite, and above the smallest scale, so that the next
            step has more room. A bool on the device.
        """
        overflow = ~finite & (self.scale > SMALLEST)
        in_a_row = (self.finite_in_a_row + 1) * finite
        grows = in_a_row == GROWS_AFTER
        # A product, and no torch.where: that would copy its numbers to the device, and wait.
        factor = 1.0 + 1.0 * grows - 0.5 * ~finite
        self.scale = (self.scale * factor).clamp(SMALLEST, LARGEST)
        self.finite_in_a_row = in_a_row * ~grows
        self.overflow_steps = self.overflow_steps + overflow
        return overflow
