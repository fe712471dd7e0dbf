import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.targets.coarse_pixels import coarse_pixels


def test_each_number_is_the_mean_of_a_cell():
    images = torch.randn(2, 3, 8, 12)
    found = coarse_pixels(4)(images)
    assert found.shape == (2, 3, 2, 3)
    torch.testing.assert_close(found[:, :, 1, 2], images[:, :, 4:, 8:].mean((2, 3)))


def test_cells_of_one_pixel_are_the_pixels():
    images = torch.randn(2, 3, 8, 12)
    assert torch.equal(coarse_pixels(1)(images), images)


def test_cells_without_a_pixel_are_refused():
    with pytest.raises(UserError, match="give 1 or more"):
        coarse_pixels(0)
