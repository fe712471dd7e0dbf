import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.targets.normalised_patches import normalised_patches


def test_the_pixels_of_a_patch_have_mean_0_and_variance_1_over_all_channels():
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64) * 3 + 5
    target = normalised_patches(4)
    found = target(images)
    assert found.shape == (2, target.num_chans(3), 2, 3) == (2, 48, 2, 3)
    patch = images[1, :, 4:, 8:]
    wanted = (patch - patch.mean()) / (patch.square().mean() - patch.mean() ** 2).sqrt()
    torch.testing.assert_close(found[1, :, 1, 2].view(3, 4, 4), wanted, rtol=1e-6, atol=1e-6)


def test_a_flat_patch_has_nothing_to_predict():
    assert normalised_patches(4)(torch.full((1, 3, 8, 8), 0.7)).abs().max() < 1e-3


def test_half_precision_is_not_kept():
    assert normalised_patches(4)(torch.randn(1, 1, 8, 8).bfloat16()).dtype == torch.float32


def test_patches_of_one_number_have_nothing_to_predict_and_are_refused():
    assert normalised_patches(1).num_chans(3) == 3
    with pytest.raises(UserError, match="target normalised_patches with cell_size=1: a patch of"):
        normalised_patches(1).num_chans(1)


def test_patches_without_a_pixel_are_refused():
    with pytest.raises(UserError, match="target normalised_patches of cells of 0 pixels"):
        normalised_patches(0)
