"""Stop "encode" on the route: which tokens attend to one another, as plain numbers.

A stage has a grid of tokens, counted row by row. Its windows are laid out as slots: each window has
one slot for each of its places, and a slot holds a token or is empty. Attention happens among the
slots of a window; what else there is depends on these numbers alone.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

Sides = tuple[int, int]  # rows and columns
Shift = Literal["cyclic", "padded", "none"]
Padding = Literal["attended", "masked"]

EMPTY = -1  # a slot without a token; a region of its own


class Windows(NamedTuple):
    """The windows of one block: what is in their slots, and which slots see one another."""

    slots: Int64[np.ndarray, "windows places"]  # the token of each slot, or `EMPTY`
    regions: Int64[np.ndarray, "windows places"]  # slots of a window see those of their own region

    @property
    def are_full(self) -> bool:
        """Whether no slot is empty: then the slots are the tokens in another order."""
        return bool((self.slots != EMPTY).all())

    @property
    def order(self) -> Int64[np.ndarray, " slots"]:
        """The tokens in the order of their slots."""
        return self.slots.ravel()

    def visible(self) -> Bool[np.ndarray, "windows places places"] | None:
        """Return whether a slot (second axis) sees another (third); None if all see all.

        Source:
            Swin, section 3.2 and figure 4 (arXiv:2103.14030): the mask of shifted windows.
        """
        if (self.regions == self.regions[:, :1]).all():
            return None
        return self.regions[:, :, None] == self.regions[:, None, :]


def fit_window(grid: Sides, window: Sides) -> Sides:
    """Shrink a window to a grid that is smaller: the grid is one window then."""
    return min(grid[0], window[0]), min(grid[1], window[1])


def half_window(grid: Sides, window: Sides) -> Sides:
    """Return by how many rows and columns windows are shifted: half of one, or 0 if it is alone.

    Source:
        Swin, section 3.2: every second block displaces its windows by half a window.
    """
    rows, cols = (0 if w >= g else w // 2 for g, w in zip(grid, window, strict=True))
    return rows, cols


def split_into_windows(
    grid: Sides,
    window: Sides,
    shift: Sides = (0, 0),
    kind: Shift = "cyclic",
    padding: Padding = "attended",
) -> Windows:
    """Lay out a grid in windows.

    Args:
        grid: Rows and columns of tokens.
        window: Rows and columns of a window.
        shift: By how many rows and columns the windows are displaced, down and to the right.
        kind: What becomes of the windows that a shift cuts at the border. "cyclic": the pieces are
            put together into whole windows, in regions that do not see one another. "padded": each
            piece is a window of its own, filled up with empty slots. The same tokens see the same.
        padding: What becomes of empty slots where the window does not divide the grid. "attended":
            they are seen, as tokens of nothing but zeros, and the regions are those of the filled
            grid, as in timm. "masked": no token sees them.

    Source:
        Swin, section 3.2 and figure 4; both kinds are in "efficient batch computation".
    """
    masked = padding == "masked" or (kind == "padded" and any(shift))
    rows = _split_side(grid[0], window[0], shift[0], kind, masked)
    cols = _split_side(grid[1], window[1], shift[1], kind, masked)
    (row_slots, row_regions), (col_slots, col_regions) = rows, cols
    slots = row_slots[:, None] * grid[1] + col_slots[None, :]
    empty = (row_slots == EMPTY)[:, None] | (col_slots == EMPTY)[None, :]
    slots[empty] = EMPTY
    regions = row_regions[:, None] * (col_regions.max() + 1) + col_regions[None, :]
    if masked:
        regions[empty] = EMPTY
    return Windows(_partition(slots, window), _partition(regions, window))


def relative_positions(window: Sides) -> Int64[np.ndarray, "places places"]:
    """Return for each two places of a window which row of a bias table says how they lie.

    A table has a row for each of ``(2 * rows - 1) * (2 * columns - 1)`` displacements.

    Source:
        Swin, section 3.2, "relative position bias", equation 4.
    """
    rows, cols = (ordinal.ravel() for ordinal in np.indices(window))
    down = rows[:, None] - rows[None, :] + window[0] - 1
    right = cols[:, None] - cols[None, :] + window[1] - 1
    return down * (2 * window[1] - 1) + right


def raster(grid: Sides) -> Int64[np.ndarray, " tokens"]:
    """Return the tokens row by row, as they lie in the image."""
    return np.arange(grid[0] * grid[1])


def merged(grid: Sides) -> Int64[np.ndarray, "merged_tokens 4"]:
    """Return for each token of the next stage, row by row, the four that it is made of.

    Column by column of each square, as the weights of all published Swins have it. A grid with an
    odd side is filled up with empty places.
    """
    sides = tuple(side + side % 2 for side in grid)
    filled = np.full(sides, EMPTY)
    filled[: grid[0], : grid[1]] = raster(grid).reshape(grid)
    squares = filled.reshape(sides[0] // 2, 2, sides[1] // 2, 2)
    return squares.transpose(0, 2, 3, 1).reshape(-1, 4)


def find(held: np.ndarray, wanted: np.ndarray) -> Int64[np.ndarray, "..."]:
    """Return where each wanted token lies among those held; `EMPTY` for one that is not there."""
    places = np.full(max(held.max(initial=0), wanted.max(initial=0)) + 2, EMPTY)
    is_token = held != EMPTY
    places[held[is_token]] = np.flatnonzero(is_token)
    places[EMPTY] = EMPTY  # the last one, which is no token
    return places[wanted]


def _split_side(
    side: int, window: int, shift: int, kind: Shift, masked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return one axis in the order of its windows: the rows, or `EMPTY`, and their regions."""
    if kind == "padded" and shift:
        first = shift - window  # the first window begins above the image
        places = np.arange(first, first + window * -(-(side - first) // window))
        slots = np.where((places >= 0) & (places < side), places, EMPTY)
        return slots, np.zeros_like(slots)
    filled = -(-side // window) * window
    places = np.arange(filled)
    if masked:
        moved = (places + shift) % filled
        slots = np.where(moved < side, moved, EMPTY)
    else:  # timm fills up after it has shifted
        slots = np.where(places < side, (places + shift) % side, EMPTY)
    regions = np.zeros_like(places)
    if shift:
        regions = (places >= filled - window).astype(np.int64) + (places >= filled - shift)
    return slots, regions


def _partition(filled: np.ndarray, window: Sides) -> np.ndarray:
    rows, cols = filled.shape
    cut = filled.reshape(rows // window[0], window[0], cols // window[1], window[1])
    return cut.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
