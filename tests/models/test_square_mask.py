import pytest
import torch

from ssl_swin.models.square_mask import square_mask


@pytest.mark.parametrize("num_hidden", [1, 4, 9, 16, 25])
def test_a_square_number_of_patches_is_a_square(num_hidden):
    side = round(num_hidden**0.5)
    for mask in square_mask(torch.arange(30), 0, 0, (6, 6), num_hidden):
        rows, cols = mask.nonzero().unbind(1)
        assert rows.max() - rows.min() == cols.max() - cols.min() == side - 1


@pytest.mark.parametrize("num_hidden", [2, 7, 22, 35])
def test_else_one_row_of_it_is_cut_short(num_hidden):
    side = 1 + int((num_hidden - 1) ** 0.5)
    for mask in square_mask(torch.arange(30), 0, 0, (6, 6), num_hidden):
        counts = mask.sum(1)
        assert counts.max() == side
        assert (counts == side).sum() == num_hidden // side


def test_it_lies_everywhere_and_is_cut_from_every_side():
    masks = square_mask(torch.arange(1000), 0, 0, (6, 6), 7)
    assert masks.any(0).all()
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 4 * 4 * 4


def test_where_the_image_is_too_narrow_it_is_a_rectangle():
    masks = square_mask(torch.arange(50), 0, 0, (2, 20), 16)
    assert {tuple(mask.any(0).nonzero().flatten().diff().unique().tolist()) for mask in masks} == {
        (1,)
    }
    assert (masks.sum(1) == 2).sum(1).eq(8).all()
