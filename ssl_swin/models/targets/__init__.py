"""What is predicted of an image: a table of targets. A new one is a file here, and a line."""

from collections.abc import Callable

from ssl_swin.models.targets.coarse_pixels import coarse_pixels
from ssl_swin.models.targets.hog import hog
from ssl_swin.models.targets.normalised_patches import normalised_patches
from ssl_swin.models.targets.normalised_pixels import normalised_pixels
from ssl_swin.models.targets.pixels import pixels
from ssl_swin.models.targets.target import Target
from ssl_swin.models.targets.teacher import teacher
from ssl_swin.models.targets.teacher_pooled import teacher_pooled

TARGETS: dict[str, Callable[..., Target]] = {
    "pixels": pixels,
    "normalised_pixels": normalised_pixels,
    "normalised_patches": normalised_patches,
    "coarse_pixels": coarse_pixels,
    "hog": hog,
    "teacher": teacher,
    "teacher_pooled": teacher_pooled,
}
"""Name -> a function that makes the target. It is given the options of all, and uses its own."""
