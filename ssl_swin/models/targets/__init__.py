"""What is predicted of an image: a table of targets. A new one is a file here, and a line."""

from collections.abc import Callable

from torch import Tensor

from ssl_swin.models.targets.normalised_pixels import normalised_pixels
from ssl_swin.models.targets.pixels import pixels

Target = Callable[[Tensor], Tensor]
"""Normalised images -> what is to be predicted of them, of the same shape."""

TARGETS: dict[str, Callable[..., Target]] = {
    "pixels": pixels,
    "normalised_pixels": normalised_pixels,
}
"""Name -> a function that makes the target. It is given the options of all, and uses its own."""
