"""The target of Feature Distillation: the features of a frozen teacher, whitened."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.targets.target import Target


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network in eval mode, and what images have to be for it.

    No module holds it, so it is in no checkpoint, no rank exchanges it and nothing trains it. It
    follows the images onto their device, and into their precision.
    """

    network: nn.Module
    maps: Callable[[Tensor], Tensor]
    """The network's images -> a map of it, (batch, num_features, rows, cols)."""
    num_features: int
    img_size: tuple[int, int]
    """Rows and columns in pixels; images of another size are resized."""
    scale: tuple[float, ...]
    """Of each channel: what makes of a run's numbers those that the network takes, and..."""
    shift: tuple[float, ...]
    """... what is added then."""
    fingerprint: str = ""
    """Of its weights, and of what is done to images."""
    told: str = ""
    """What it is, in one line."""


def teacher(teacher: Teacher | None = None, stride: int = 32, **_others: Any) -> Target:
    """Predict a frozen network's features of the whole image, at positions of `stride` pixels.

    The network sees the images that the student's are, with nothing hidden, resized to its size by
    bicubic interpolation where that is another.

    Raises:
        UserError: If there is no network.

    Source:
        Feature Distillation, section 3 (arXiv:2205.14141): the teacher's last map, after its own
        last norm, whitened by a layer norm without weights. Theirs has the student's grid. Another
        grid becomes it here: by the mean, where a position has a whole number of the teacher's, or
        else by bilinear interpolation; that is ours.
    """
    network = require_teacher(teacher, "teacher")
    compute = partial(whitened_features, teacher=network, stride=stride)
    return Target(compute, stride, lambda _: network.num_features, False)


def require_teacher(teacher: Teacher | None, target: str) -> Teacher:
    """Return the teacher that a target needs.

    Raises:
        UserError: If there is none.
    """
    if teacher is None:
        raise UserError(
            f"the target {target} needs a network; give target.teacher, such as timm:NAME, "
            "timm:NAME:FILE, a run folder or a file of an encoder"
        )
    return teacher


@torch.no_grad()
def whitened_features(
    images: Float[Tensor, "batch chans height width"], teacher: Teacher, stride: int
) -> Float[Tensor, "batch num_features rows cols"]:
    """Return the features of each position: of mean 0 and deviation 1 over their channels.

    In float32, or float64 if the images are.
    """
    maps = teacher_maps(images, teacher)
    grid = images.shape[2] // stride, images.shape[3] // stride
    features = at_grid(maps, grid).permute(0, 2, 3, 1)  # (batch, rows, cols, num_features)
    return functional.layer_norm(features, features.shape[-1:]).permute(0, 3, 1, 2)


@torch.no_grad()
def teacher_maps(
    images: Float[Tensor, "batch chans height width"], teacher: Teacher
) -> Float[Tensor, "batch num_features rows cols"]:
    """Return the map that the teacher makes of images, resized to its size.

    It is computed as autocast says, and returned in float32, or float64 if the images are.
    """
    weights = next(teacher.network.parameters())
    if weights.device != images.device or weights.dtype != images.dtype:
        teacher.network.to(images.device, images.dtype)
    how = zip(images.unbind(1), teacher.scale, teacher.shift, strict=True)
    taken = torch.stack([channel * scale + shift for channel, scale, shift in how], 1)
    if tuple(images.shape[2:]) != teacher.img_size:
        taken = functional.interpolate(taken, teacher.img_size, mode="bicubic", antialias=True)
    maps = teacher.maps(taken)
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def at_grid(
    maps: Float[Tensor, "batch chans rows cols"], grid: tuple[int, int]
) -> Float[Tensor, "batch chans new_rows new_cols"]:
    """Return maps with so many rows and columns: means, where these are whole numbers of theirs."""
    rows, cols = maps.shape[2:]
    if (rows, cols) == grid:
        return maps
    if rows % grid[0] == 0 and cols % grid[1] == 0:
        return functional.avg_pool2d(maps, (rows // grid[0], cols // grid[1]))
    return functional.interpolate(maps, grid, mode="bilinear", antialias=True)
