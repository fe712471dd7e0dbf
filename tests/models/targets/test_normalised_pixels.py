import pytest
import torch

from ssl_swin.models.targets.normalised_pixels import normalised_pixels


def naive(images, size):
    """Take each pixel's surroundings by slicing."""
    target = torch.empty_like(images)
    _, _, height, width = images.shape
    reach = size // 2
    for row in range(height):
        for col in range(width):
            top, left = max(row - reach, 0), max(col - reach, 0)
            around = images[:, :, top : row + reach + 1, left : col + reach + 1].flatten(2)
            variance = around.var(dim=2, unbiased=True)
            centred = images[:, :, row, col] - around.mean(dim=2)
            target[:, :, row, col] = centred / (variance + 1e-6).sqrt()
    return target


@pytest.mark.parametrize("size", [3, 7, 23])
def test_the_normalised_target_is_the_naive_one(size):
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    torch.testing.assert_close(normalised_pixels(size)(images), naive(images, size))


def test_a_flat_image_has_a_target_of_nothing():
    target = normalised_pixels()(torch.full((1, 3, 64, 64), 1.7))
    assert target.isfinite().all()
    assert target.abs().max() < 0.1


def test_the_target_is_float32_for_half_precision_images():
    assert normalised_pixels(3)(torch.randn(1, 3, 8, 8).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [0, 1, 2, 46])
def test_a_square_without_centre_is_refused(size):
    with pytest.raises(ValueError, match="odd number"):
        normalised_pixels(size)
