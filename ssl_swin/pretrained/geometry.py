"""Of which images and windows a library computes something else than encoders here, or nothing.

What goes out is refused by it, and of what comes in it is told. In plain numbers, from the sizes of
an encoder.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ssl_swin.models.swin_choices import sides
from ssl_swin.models.windows import Sides, fit_window


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


def shrunk(stage: Stage, largest: Sides) -> str | None:
    """Say what is wrong with a stage where one window, of all stages, shrinks to a smaller one.

    In a stage that is not larger it is the whole stage, without shift, and has to be square.

    Source:
        Swin code, models/swin_transformer.py, ``SwinTransformerBlock.__init__``.
    """
    side = min(largest[0], *stage.grid)
    if stage.window != (side, side):
        return _other(stage, side)
    return _one_side(stage) if min(stage.grid) <= largest[0] else None


def never_smaller(stage: Stage, largest: Sides) -> str | None:
    """Say what is wrong with a stage.

    transformers has square windows of one size, never smaller, and shifts both sides of them, or,
    in a stage that is one window, none.

    Source:
        transformers, models/swin/modeling_swin.py, ``SwinLayer``.
    """
    if stage.window != (largest[0], largest[0]):
        return _other(stage, largest[0])
    return _one_side(stage) if min(stage.grid) == largest[0] else None


def of_one_size(stage: Stage, largest: Sides) -> str | None:
    """Say what is wrong with a stage: torchvision has windows of one size, never smaller."""
    return None if stage.window == (largest[0], largest[0]) else _other(stage, largest[0])


def any_window(_stage: Stage, _largest: Sides) -> str | None:
    """Find nothing wrong with a stage that windows divide."""
    return None


def unlike_squares(sizes: Mapping[str, Any]) -> Iterator[str]:
    """Name images of two sides where a ViT has tables: the BEiT of transformers has others."""
    rows, cols = sides(sizes["img_size"])
    if rows != cols and sizes["position"] not in ("absolute", "none"):
        yield f"model.img_size={rows} x {cols} with model.position={sizes['position']}"


def _other(stage: Stage, side: int) -> str:
    rows, cols = stage.window
    return f"whose windows are {rows} x {cols} in stage {stage.number}, not {side} x {side}"


def _one_side(stage: Stage) -> str | None:
    """Say of a window that is as large as a stage by one side alone, that it is."""
    if stage.grid == stage.window:
        return None
    return f"which is as large as one side of {stage.told} and not the other"
