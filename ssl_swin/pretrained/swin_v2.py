"""Swin V2 from elsewhere: its windows, which no weight tells, and what builds it again.

Most libraries keep the coordinates of a window among their buffers: there both the window and that
of pretraining are read. Others have them in a file beside, or nobody says.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_swin.models.cosine_attention import log_spaced
from ssl_swin.models.windows import Sides
from ssl_swin.pretrained.found import COORDINATES
from ssl_swin.pretrained.mismatch import PretrainedMismatch, shape_of
from ssl_swin.pretrained.timm import NOTHING, plain_sizes, sizes_by_places, sizes_by_windows

WINDOWS, SCALES = "window_size", "pretrained_window_sizes"
_NAMES = {128: "swinv2_base_window8_256", 192: "swinv2_large_window12_192"}  # by width
_SCALE = "backbone.layers.{}.blocks.0.attn.logit_scale"
_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.\d+\.")


def sizes_of_v2(
    state: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    said: Mapping[str, Any] = NOTHING,
) -> dict[str, Any]:
    """Read the arguments of `build_encoder` from a Swin V2's weights, under our names.

    The buffers are of coordinates, under timm's names. Without them `window_size` is None, since
    nobody says (see `require_windows`), and the image is of any size that fits; with them its last
    stage is taken to be one window. An embedding of places tells it; see `sizes_by_places`.

    Raises:
        PretrainedMismatch: If the weights are not those of a Swin V2 of images.
    """
    sizes = plain_sizes(state)
    num = len(sizes["depths"])
    heads = tuple(shape_of(state, _SCALE.format(stage), 3)[0] for stage in range(num))
    sizes |= {"name": _NAMES.get(sizes["embed_dim"], "swinv2_tiny_window8_256"), "num_heads": heads}
    places = sizes_by_places(state, sizes["patch_size"], said)
    found: dict[int, Tensor] = {}
    for name, one in sorted(buffers.items()):
        if (match := _BLOCK.match(name)) is not None:
            _require_as_in_stage(name, one, found.setdefault(int(match[1]), one))
    if found.keys() != {*range(num)}:
        img_size = sizes["patch_size"] * 2 ** (num + 2)
        return sizes | {"img_size": img_size, WINDOWS: None, SCALES: None} | places
    windows, pretrained = zip(
        *(read_coordinates(found[stage]) for stage in range(num)), strict=True
    )
    sides = [rows for rows, cols in windows if rows == cols]
    if len(sides) < num:
        raise PretrainedMismatch(
            f"its windows are {windows}, and only square ones are read from files without a card; "
            "give others"
        )
    return (
        sizes
        | sizes_by_windows(sides, sizes["patch_size"])
        | {SCALES: tuple(a if a == b else (a, b) for a, b in pretrained)}
        | places
    )


def _require_as_in_stage(name: str, table: Tensor, first: Tensor) -> None:
    """Refuse coordinates of a block that are not those of its stage's first one.

    Raises:
        PretrainedMismatch: If they are others.
    """
    if table.shape != first.shape or not torch.equal(table.nan_to_num(), first.nan_to_num()):
        raise PretrainedMismatch(
            f"{name} is not as in the first block of its stage, and windows here are those of a "
            "stage; give other weights"
        )


def coordinates(window: Sides, pretrained: Sides) -> Tensor:
    """Return the buffer of a block, (1, 2 * rows - 1, 2 * columns - 1, 2), as libraries keep it."""
    spaced = torch.from_numpy(log_spaced(window, pretrained))
    return spaced.view(1, 2 * window[0] - 1, 2 * window[1] - 1, 2)


def read_coordinates(table: Tensor) -> tuple[Sides, Sides]:
    """Return a window, and that of pretraining, from the coordinates of a block.

    They may be rounded, as bfloat16 rounds: of windows of pretraining the one is taken that is
    nearest then.

    Raises:
        PretrainedMismatch: If they are not spaced as in Swin V2, or too coarse to tell.
    """
    shape = tuple(table.shape)
    sides = shape[1:3]
    is_table = len(shape) == 4 and shape[::3] == (1, 2) and all(s % 2 for s in sides)
    if not is_table or not table.is_floating_point():
        raise PretrainedMismatch(
            f"{COORDINATES} has shape {shape} of {table.dtype}, which no window of a Swin V2 has; "
            "give other weights"
        )
    window = (sides[0] // 2 + 1, sides[1] // 2 + 1)
    dtype, eps = table.dtype, torch.finfo(table.dtype).eps
    table = table.double().nan_to_num()  # a window of one token has 0 / 0 there
    rows = _scales(window[0], table[0, :, 0, 0], dtype)
    cols = _scales(window[1], table[0, 0, :, 1], dtype)
    pretrained = (rows[0], cols[0])
    if not torch.allclose(table, coordinates(window, pretrained).double(), rtol=eps, atol=1e-3):
        raise PretrainedMismatch(
            f"its {COORDINATES} are spaced otherwise than in Swin V2 (arXiv:2111.09883), and "
            "encoders here have those; give other weights"
        )
    for scales in (rows, cols):
        if len(scales) > 1:
            raise PretrainedMismatch(
                f"its {COORDINATES} are of {str(dtype).removeprefix('torch.')}, in which those of "
                f"windows of pretraining of {' and '.join(map(str, scales))} tokens are the same; "
                "save the weights in float32"
            )
    return window, pretrained


def told_of_windows(sizes: Mapping[str, Any], by_coordinates: bool) -> str:
    """Say where windows are from, in a line of a report."""
    if sizes[WINDOWS] is None:
        return f"no {COORDINATES}, which would tell its windows"
    by = f"{COORDINATES}, which is made anew" if by_coordinates else "config.json"
    return (
        f"windows of {sizes[WINDOWS]} tokens a side, scaled by "
        f"{', '.join(map(str, sizes[SCALES]))} in pretraining, by {by}"
    )


def require_windows(architecture: Mapping[str, Any], source: str) -> None:
    """Refuse a Swin V2 of which nobody says which windows it learned with.

    Raises:
        PretrainedMismatch: If there is no `window_size` where an encoder is to be built.
    """
    if WINDOWS in architecture and architecture[WINDOWS] is None:
        raise PretrainedMismatch(
            f"{source}: weights of a Swin V2 do not tell its windows, and nothing beside them "
            "does: give window_size (and img_size), that of its pretraining; or, if it is to have "
            "other windows now, those, and pretrained_window_sizes"
        )


def to_check(sizes: dict[str, Any]) -> dict[str, Any]:
    """Return sizes with which an encoder can be built, windows or not."""
    return {**sizes, WINDOWS: 1} if sizes.get(WINDOWS, 1) is None else sizes


def _scales(side: int, places: Tensor, dtype: torch.dtype) -> list[int]:
    """Return the side by which coordinates are scaled, from those along one side of a window.

    It is several, if they are the same in the type that they are stored in. The last of them is
    ``log2(1 + 8 * (side - 1) / (scale - 1)) / 3``.
    """
    farthest = float(places[-1])
    reach = 8.0**farthest - 1 if math.isfinite(farthest) and 0 < farthest < 16 else 0.0
    if not reach:
        return [side]
    near = 1 + round(8 * (side - 1) / reach)
    off = 2 + near // 50  # more than rounding makes of it
    apart = {}
    for scale in range(max(2, near - off), near + off + 1):
        there = coordinates((side, 1), (scale, 1))[0, :, 0, 0].to(dtype).double()
        apart[scale] = float((places - there).abs().max())
    least = min(apart.values())
    return [scale for scale, one in apart.items() if one == least]
