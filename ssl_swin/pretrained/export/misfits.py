"""What a library's Swin cannot be: in plain numbers, from the sizes of an encoder."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ssl_swin.models.swin_choices import sides
from ssl_swin.models.windows import Sides, fit_window

_SWITCHES = ("shift", "position", "mixer")


class Stage(NamedTuple):
    """What matters of a stage."""

    number: int  # from 1
    grid: Sides  # rows and columns of tokens
    window: Sides  # rows and columns of a window, no larger than the grid

    @property
    def is_divided(self) -> bool:
        """Whether windows fill the grid, so that nothing is padded."""
        return all(side % w == 0 for side, w in zip(self.grid, self.window, strict=True))

    @property
    def told(self) -> str:
        """Name it."""
        return f"the {self.grid[0]} x {self.grid[1]} tokens of stage {self.number}"


def stages_of(sizes: dict[str, Any]) -> list[Stage]:
    """Return the stages of a Swin of these sizes, with the windows that they really have."""
    num = len(sizes["depths"])
    windows = sizes["window_size"]
    windows = (windows,) * num if isinstance(windows, int) else windows
    grid = tuple(side // sizes["patch_size"] for side in sizes["img_size"])
    found = []
    for number, window in enumerate(windows, 1):
        rows, cols = grid
        found.append(Stage(number, (rows, cols), fit_window((rows, cols), sides(window))))
        grid = (rows // 2, cols // 2)
    return found


def largest_window(sizes: dict[str, Any]) -> Sides:
    """Return the largest window that a stage really has."""
    return max(stage.window for stage in stages_of(sizes))


def is_swin(sizes: dict[str, Any]) -> bool:
    """Say whether sizes are those of a Swin."""
    return {"patch_size", "window_size", "embed_dim", "depths", "num_heads"} <= sizes.keys()


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


def unlike_shrunk(stage: Stage, largest: Sides) -> str | None:
    """Say what is wrong with a stage where one window, of all stages, shrinks to a smaller one.

    In a stage that is not larger it is the whole stage, without shift, and has to be square.

    Source:
        Swin code, models/swin_transformer.py, ``SwinTransformerBlock.__init__``.
    """
    side = min(largest[0], *stage.grid)
    is_whole = min(stage.grid) <= largest[0]
    if stage.window == (side, side) and not (is_whole and stage.grid != stage.window):
        return None
    rows, cols = stage.window
    return f"whose windows are {rows} x {cols} in stage {stage.number}, not {side} x {side}"


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


def unlike_windows(
    sizes: dict[str, Any], fits: Callable[[Stage, Sides], str | None]
) -> Iterator[str]:
    """Name the first stage whose windows a library does not have.

    `fits` says what is wrong with a stage, given the largest window of any; None if nothing is.
    """
    if not is_swin(sizes):
        return
    largest = largest_window(sizes)
    for stage in stages_of(sizes):
        if not stage.is_divided:
            yield f"model.window_size={sizes['window_size']}, which does not divide {stage.told}"
            return
        if (wrong := fits(stage, largest)) is not None:
            yield f"model.window_size={sizes['window_size']}, {wrong}"
            return
