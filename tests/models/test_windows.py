import itertools

import numpy as np
import pytest

from ssl_swin.models.windows import (
    EMPTY,
    find,
    fit_window,
    half_window,
    merged,
    raster,
    relative_positions,
    split_into_windows,
)

# rows and columns of grid, window and shift: divided, one axis alone, not divided
DIVIDED = [
    ((4, 4), (2, 2), (1, 1)),
    ((8, 8), (4, 4), (2, 2)),
    ((6, 12), (3, 4), (1, 2)),
    ((12, 6), (6, 6), (3, 0)),
    ((14, 21), (7, 7), (3, 3)),
]
UNDIVIDED = [((5, 8), (4, 4), (2, 2)), ((10, 7), (4, 3), (2, 1)), ((9, 9), (7, 7), (3, 3))]
KINDS = list(itertools.product(("cyclic", "padded"), ("attended", "masked")))


def pairs(windows):
    """The pairs of tokens that see one another."""
    visible, found = windows.visible(), set()
    for number, slots in enumerate(windows.slots):
        for i, j in itertools.product(range(len(slots)), repeat=2):
            if (visible is None or visible[number, i, j]) and EMPTY not in (slots[i], slots[j]):
                found.add((slots[i], slots[j]))
    return found


def neighbours(grid, window, shift):
    """The pairs whose places lie in one displaced window; no place is beyond a border."""
    row, col = np.indices(grid).reshape(2, -1)
    group = (row - shift[0]) // window[0] * 1000 + (col - shift[1]) // window[1]
    return {(i, j) for i, j in itertools.product(range(row.size), repeat=2) if group[i] == group[j]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [*DIVIDED, *UNDIVIDED])
def test_each_token_has_one_slot_and_each_window_as_many_as_it_has_places(sizes, kind):
    grid, window, shift = sizes
    for displaced in ((0, 0), shift):
        windows = split_into_windows(grid, window, displaced, *kind)
        assert windows.slots.shape[1] == window[0] * window[1]
        held = windows.slots[windows.slots != EMPTY]
        assert sorted(held) == list(raster(grid))
        assert windows.are_full == (held.size == windows.slots.size)


@pytest.mark.parametrize("sizes", DIVIDED)
def test_whole_windows_see_all_of_themselves(sizes):
    grid, window, _ = sizes
    windows = split_into_windows(grid, window)
    assert windows.visible() is None
    assert windows.are_full
    assert pairs(windows) == neighbours(grid, window, (0, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", DIVIDED)
def test_shifted_windows_see_their_neighbours_and_nothing_across_the_border(sizes, kind):
    grid, window, shift = sizes
    windows = split_into_windows(grid, window, shift, *kind)
    assert pairs(windows) == neighbours(grid, window, shift)


@pytest.mark.parametrize("shift_kind", ["cyclic", "padded"])
@pytest.mark.parametrize("sizes", UNDIVIDED)
def test_with_empty_slots_masked_windows_that_do_not_divide_see_their_neighbours(sizes, shift_kind):
    grid, window, shift = sizes
    for displaced in ((0, 0), shift):
        windows = split_into_windows(grid, window, displaced, shift_kind, "masked")
        assert pairs(windows) == neighbours(grid, window, displaced)
        if (visible := windows.visible()) is not None:  # a token sees no empty slot
            is_empty = windows.slots == EMPTY
            assert not visible[~is_empty[:, :, None] & is_empty[:, None, :]].any()


def test_cyclic_windows_are_as_many_as_whole_ones_and_padded_ones_are_more():
    assert len(split_into_windows((8, 12), (4, 4), (2, 2), "cyclic").slots) == 2 * 3
    assert len(split_into_windows((8, 12), (4, 4), (2, 2), "padded").slots) == 3 * 4


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (7, 7), (4, 12)])
def test_a_row_of_the_bias_table_is_a_displacement(window):
    positions = relative_positions(window)
    row, col = np.indices(window).reshape(2, -1)
    rows_of = {}
    for i, j in itertools.product(range(row.size), repeat=2):
        rows_of.setdefault((row[i] - row[j], col[i] - col[j]), set()).add(positions[i, j])
    assert all(len(found) == 1 for found in rows_of.values())
    assert set().union(*rows_of.values()) == set(range((2 * window[0] - 1) * (2 * window[1] - 1)))


@pytest.mark.parametrize(
    ("grid", "window", "fitted", "shift"),
    [
        ((48, 48), (6, 6), (6, 6), (3, 3)),
        ((7, 7), (7, 7), (7, 7), (0, 0)),
        ((4, 9), (7, 7), (4, 7), (0, 3)),
        ((8, 16), (14, 14), (8, 14), (0, 7)),
    ],
)
def test_a_window_is_no_larger_than_its_grid_and_one_that_is_alone_is_not_shifted(
    grid, window, fitted, shift
):
    assert fit_window(grid, window) == fitted
    assert half_window(grid, fitted) == shift


def test_merging_takes_squares_column_by_column():
    assert merged((2, 4)).tolist() == [[0, 4, 1, 5], [2, 6, 3, 7]]
    assert merged((3, 2)).tolist() == [[0, 2, 1, 3], [4, EMPTY, 5, EMPTY]]


def test_tokens_are_found_where_they_lie():
    held = np.array([3, EMPTY, 0, 1, EMPTY, 2])
    assert find(held, np.array([0, EMPTY, 3, 1])).tolist() == [2, EMPTY, 0, 3]
    assert find(np.array([1, 0]), np.array([2, 0])).tolist() == [EMPTY, 1]
