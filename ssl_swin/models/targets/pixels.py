"""The target of SimMIM: the pixels themselves."""

from typing import Any

from torch import Tensor

from ssl_swin.models.targets.target import Target


def pixels(**_others: Any) -> Target:
    """Predict the normalised pixels themselves: SimMIM, section 3.4 (arXiv:2111.09886)."""
    return Target(unchanged)


def unchanged(images: Tensor) -> Tensor:
    """Return the images."""
    return images
