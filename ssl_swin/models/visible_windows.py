"""Stop "encode" on the route: windows of visible tokens alone, as plain numbers.

Hidden tokens are left out. What is visible of a window attends among itself as ever, and parts of
several windows lie together in groups of as many slots as a window has, so that few are empty.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.moves import move
from ssl_swin.models.windows import (
    EMPTY,
    Sides,
    Windows,
    find,
    merged,
    raster,
    relative_positions,
)


class Among(NamedTuple):
    """Which visible tokens attend among one another in one block; of any image of a batch."""

    take: Int64[Tensor, " groups*places"]
    """The token in each slot, counted among the visible ones; `EMPTY` for none."""
    back: Int64[Tensor, " tokens"]
    """The slot of each visible token."""
    bias_rows: Int64[Tensor, "groups places places"]
    """Which row of a bias table says how two slots lie; of two that do not see each other, 0."""
    visible: Bool[Tensor, "groups places places"]
    """Whether a slot (second axis) sees another (third)."""


class StageAmong(NamedTuple):
    """The visible tokens of a stage, row by row."""

    tokens: Int64[Tensor, " tokens"]
    """Their places in the grid."""
    spread: Int64[Tensor, " grid"]
    """Of each place which visible token it has; `EMPTY` for none."""
    merged: Int64[Tensor, " tokens*4"] | None
    """Of which four each is made, counted among those before; None in the first stage."""
    blocks: tuple[Among, ...]
    """One for each block."""

    def as_map(
        self, x: Float[Tensor, "batch tokens dim"], grid: Sides
    ) -> Float[Tensor, "batch rows cols dim"]:
        """Return the tokens where they lie in the grid, and 0 for what is not there."""
        return move(x, self.spread, self.tokens, fills=True).unflatten(1, grid)

    def to(self, device: torch.device) -> "StageAmong":
        """Return the same numbers on a device."""

        def moved(one: Tensor) -> Tensor:
            return one.to(device, non_blocking=True)

        blocks = {id(one): Among(*map(moved, one)) for one in self.blocks}
        shared = tuple(blocks[id(one)] for one in self.blocks)
        fours = None if self.merged is None else moved(self.merged)
        return StageAmong(moved(self.tokens), moved(self.spread), fours, shared)


def lay_out(
    stages: Sequence[Sequence[Windows]],
    grid: Sides,
    window_of: Sequence[Sides],
    is_visible: Bool[np.ndarray, " tokens"],
) -> list[StageAmong]:
    """Lay out what is visible, stage by stage.

    Args:
        stages: The windows of all tokens in each block of each stage; they have no empty slot.
        grid: Rows and columns of tokens of the first stage.
        window_of: Rows and columns of a window of each stage.
        is_visible: Of each token of the first stage, row by row.

    Raises:
        UserError: If tokens that are merged are hidden in part.
    """
    found, fours = [], None
    for number, (windows, window) in enumerate(zip(stages, window_of, strict=True)):
        if number:
            is_visible, fours = visible_of_next(grid, is_visible)
            grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        known: dict[bytes, Among] = {}  # blocks of one shift share it
        blocks = []
        for one in windows:
            key = one.slots.tobytes()
            if key not in known:
                known[key] = group(one, window, is_visible)
            blocks.append(known[key])
        tokens = np.flatnonzero(is_visible)
        spread = torch.from_numpy(find(tokens, raster(grid)))
        taken = None if fours is None else torch.from_numpy(fours)
        found.append(StageAmong(torch.from_numpy(tokens), spread, taken, tuple(blocks)))
    return found


def group(windows: Windows, window: Sides, is_visible: Bool[np.ndarray, " tokens"]) -> Among:
    """Lay out what is visible of a block's windows in groups.

    Args:
        windows: The windows of all tokens.
        window: Rows and columns of a window, which bound the slots of a group.
        is_visible: Of each token of the grid, row by row.

    Source:
        The idea of attending in groups is of GreenMIM (arXiv:2205.13515), which looks for the best
        ones; ours puts the next largest part where the least room is left.
    """
    num_places = windows.slots.shape[1]
    shown = (windows.slots != EMPTY) & is_visible[windows.slots]
    in_window, place = np.nonzero(shown)  # of each visible token, window by window
    token, region = windows.slots[shown], windows.regions[shown]
    _, part, sizes = np.unique(
        np.stack([in_window, region]), axis=1, return_inverse=True, return_counts=True
    )
    number, first = pack(sizes, num_places)  # the group of each part, and where it begins there
    part = part.ravel()
    by_part = np.argsort(part, kind="stable")
    within = np.empty_like(part)
    within[by_part] = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    slot = number[part] * num_places + first[part] + within

    num_groups = number.max(initial=-1) + 1
    held = np.flatnonzero(is_visible)
    slots, parts, places = (np.full(num_groups * num_places, EMPTY) for _ in range(3))
    slots[slot], parts[slot], places[slot] = token, part, place
    parts, places = (one.reshape(num_groups, num_places) for one in (parts, places))
    sees = parts[:, :, None] == parts[:, None, :]  # empty slots see empty ones, and are dropped
    rows = relative_positions(window)[places[:, :, None], places[:, None, :]]
    rows[~sees | (places == EMPTY)[:, :, None]] = 0
    numbers = find(held, slots), find(slots, held), rows, sees
    return Among(*map(torch.from_numpy, numbers))


def pack(
    sizes: Int64[np.ndarray, " parts"], room: int
) -> tuple[Int64[np.ndarray, " parts"], Int64[np.ndarray, " parts"]]:
    """Put parts into groups of so much room, the largest first, where the least room is left.

    Returns:
        The group of each part, and where it begins in there.
    """
    left: list[list[int]] = [[] for _ in range(room + 1)]  # the groups that have so much room left
    number, first, num_groups = np.empty_like(sizes), np.empty_like(sizes), 0
    for part in np.argsort(-sizes, kind="stable"):
        size = int(sizes[part])
        rest = next((rest for rest in range(size, room + 1) if left[rest]), None)
        if rest is None:
            rest, found = room, num_groups
            num_groups += 1
        else:
            found = left[rest].pop()
        number[part], first[part] = found, room - rest
        left[rest - size].append(found)
    return number, first


def visible_of_next(
    grid: Sides, is_visible: Bool[np.ndarray, " tokens"]
) -> tuple[Bool[np.ndarray, " merged_tokens"], Int64[np.ndarray, " visible_merged*4"]]:
    """Return which tokens of the next stage are visible, and of which visible ones they are made.

    Raises:
        UserError: If some of four that are merged are hidden, and others are not.
    """
    fours = merged(grid)
    known = is_visible[fours] & (fours != EMPTY)
    if (known.any(1) != known.all(1)).any():
        raise UserError(
            "a mask patch is smaller than a position of the encoder's last stage, and tokens that "
            "are merged would be hidden in part; choose a mask.mask_patch_size that is a multiple "
            "of its stride, or another mask.token"
        )
    shown = known.all(1)
    return shown, find(np.flatnonzero(is_visible), fours[shown].ravel())
