"""The target of GFM: the mean of a frozen teacher's features over an image."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ssl_swin.models.targets.target import Target
from ssl_swin.models.targets.teacher import Teacher, require_teacher, teacher_maps


def teacher_pooled(teacher: Teacher | None = None, **_others: Any) -> Target:
    """Predict the mean over all positions of a frozen network's map of the whole image.

    An image has one such vector, which counts once whatever is hidden. The network sees it as it
    does for the target teacher. The vector is not whitened.

    Raises:
        UserError: If there is no network.

    Source:
        GFM (arXiv:2302.04476) and its code, which takes the map after the last patch merging and
        the loss `cosine`.
    """
    network = require_teacher(teacher, "teacher_pooled")
    compute = partial(pooled_features, teacher=network)
    return Target(compute, 1, lambda _: network.num_features, False, pooled=True)


@torch.no_grad()
def pooled_features(
    images: Float[Tensor, "batch chans height width"], teacher: Teacher
) -> Float[Tensor, "batch num_features 1 1"]:
    """Return the mean over positions, in float32, or float64 if the images are."""
    return teacher_maps(images, teacher).mean((2, 3), keepdim=True)
