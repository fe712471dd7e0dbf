"""What a library's Swin cannot be: in plain numbers, from the sizes of an encoder."""

from collections.abc import Iterator
from typing import Any

from ssl_swin.models.swin_choices import sides
from ssl_swin.pretrained.geometry import is_swin, stages_of

_SWITCHES = ("shift", "position", "mixer")


def is_v2(sizes: dict[str, Any]) -> bool:
    """Say whether sizes are those of a Swin V2."""
    return "pretrained_window_sizes" in sizes


def scales_of(sizes: dict[str, Any]) -> list[int]:
    """Return the side by which a Swin V2 scales coordinates in each stage; 0 if it is its window's.

    All libraries take 0 for that.
    """
    pairs = zip(stages_of(sizes), map(sides, sizes["pretrained_window_sizes"]), strict=True)
    return [0 if tuple(scale) == stage.window else int(scale[0]) for stage, scale in pairs]


def unlike_scales(sizes: dict[str, Any], has_scales: bool = True) -> Iterator[str]:
    """Name the scale of coordinates that a library's Swin V2 does not have.

    `has_scales` says whether it has any but that of the window. None has two sides, or divides by
    the 0 that a side of 1 makes.
    """
    if not is_v2(sizes):
        return
    for stage, scale in zip(stages_of(sizes), sizes["pretrained_window_sizes"], strict=True):
        rows, cols = sides(scale)
        if (rows, cols) == stage.window and rows > 1:
            continue
        if not has_scales or rows != cols or rows == 1:
            yield f"model.pretrained_window_sizes={sizes['pretrained_window_sizes']}"
            return


def unlike_a_swin(sizes: dict[str, Any], has_embedding: bool = False) -> Iterator[str]:
    """Name what no library's Swin has; `has_embedding` if this one can embed absolute places."""
    if not is_swin(sizes):
        yield f"model.name={sizes['name']}, which is no Swin"
        return
    for key in _SWITCHES:
        value = sizes.get(key)
        if value is not None and not (has_embedding and (key, value) == ("position", "both")):
            yield f"model.{key}={value}"
    if "padding" in sizes and not all(stage.is_divided for stage in stages_of(sizes)):
        yield f"model.padding={sizes['padding']}"
