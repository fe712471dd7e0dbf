"""The target of SimMIM: the pixels themselves."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def pixels(**_others: Any) -> Callable[[Tensor], Tensor]:
    """Predict the normalised pixels themselves: SimMIM, section 3.4 (arXiv:2111.09886)."""
    return unchanged


def unchanged(images: Tensor) -> Tensor:
    """Return the images."""
    return images
