import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.targets.target import Target, require_cells


def test_of_pixels_each_channel_is_there_for_itself():
    there = torch.rand(2, 3, 8, 8) > 0.3
    assert Target(lambda images: images).known(there) is there


def test_a_cell_is_known_where_nothing_is_missing_in_it():
    there = torch.ones(1, 3, 8, 12, dtype=torch.bool)
    there[0, 1, 3, 5] = False
    known = Target(lambda images: images, cell_size=4).known(there)
    assert known.tolist() == [[[[True, False, True], [True, True, True]]]]


def test_nor_within_its_reach():
    there = torch.ones(1, 1, 8, 12, dtype=torch.bool)
    there[0, 0, 3, 5] = False
    known = Target(lambda images: images, cell_size=4, reach=1).known(there)
    assert known.tolist() == [[[[True, False, True], [True, False, True]]]]
    there[0, 0, 3, 5], there[0, 0, 0, 0] = True, False
    known = Target(lambda images: images, cell_size=4, reach=1).known(there)
    assert known.tolist() == [[[[False, True, True], [True, True, True]]]]


def test_cells_have_a_pixel():
    with pytest.raises(UserError, match="cells of 0 pixels"):
        require_cells(0, "target hog")


def test_all_of_an_image_is_known_where_it_holds_any_number():
    there = torch.zeros(2, 3, 8, 12, dtype=torch.bool)
    there[1, 2, 5, 3] = True
    known = Target(lambda images: images, pooled=True).known(there)
    assert known.tolist() == [[[[False]]], [[[True]]]]
