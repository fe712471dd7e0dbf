"""HOG against scikit-image's own numbers."""

import math

import numpy as np
import pytest
import torch
from skimage.feature import hog as skimage_hog
from skimage.feature._hoghistogram import hog_histograms

from ssl_swin.errors import UserError
from ssl_swin.models.targets.hog import SOBEL, directions, gradients, histograms, hog

PLAIN = (0.0, 1.0, 0.0)


def noise(*shape, seed=0):
    """Whole numbers of 8 bits, of which edges are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator)


@pytest.mark.parametrize(("cell", "bins"), [(8, 9), (4, 9), (8, 18), (16, 6), (8, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_plain_derivatives_it_is_scikit_images_hog(cell, bins, dtype):
    images = noise(2, 3, 32, 48).to(dtype)
    found = histograms(images, cell, bins, PLAIN)
    for image, mine in zip(images, found, strict=True):
        for channel, own in zip(image, mine.unflatten(0, (3, bins)), strict=True):
            theirs = skimage_hog(
                channel.double().numpy(),
                orientations=bins,
                pixels_per_cell=(cell, cell),
                cells_per_block=(1, 1),
                block_norm="L2",
                feature_vector=False,
            )[:, :, 0, 0]  # (rows, cols, bins)
            assert np.abs(own.permute(1, 2, 0).numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("cell", [8, 16])
def test_with_sobels_its_cells_are_scikit_images(cell):
    image = noise(1, 1, 32, 48, seed=1).double()
    down, right = (one[0, 0].numpy() for one in gradients(image, SOBEL))
    rows, cols = 32 // cell, 48 // cell
    theirs = np.zeros((rows, cols, 9))
    hog_histograms(right.copy(), down.copy(), cell, cell, 48, 32, cols, rows, 9, theirs)
    theirs /= np.sqrt((theirs**2).sum(2, keepdims=True) + 1e-10)
    found = hog(cell)(image)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - theirs).max() < 1e-5


def test_gradients_are_sobels():
    image = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    down, right = gradients(image, SOBEL)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    for found, weights in ((right, kernel), (down, kernel.T)):
        weights = weights.expand(3, 1, 3, 3)
        wanted = torch.nn.functional.conv2d(image, weights, groups=3)
        torch.testing.assert_close(found[inner], wanted)


@pytest.mark.parametrize("bins", [2, 9, 18])
def test_an_edge_falls_into_the_bin_of_its_angle_and_so_does_its_reverse(bins):
    angles = (torch.arange(360, dtype=torch.float64) + 0.5) * math.pi / 180
    found = directions(angles.sin(), angles.cos(), bins)
    wanted = ((torch.arange(360) % 180 + 0.5) * bins / 180).floor()
    assert torch.equal(found.double(), wanted.double())
    flat, still = torch.zeros(2), torch.tensor([1.0, -1.0])
    assert directions(flat, still, bins).tolist() == [0, 0]


def test_neither_brightness_nor_contrast_is_predicted():
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(hog()(images), hog()(7 * images - 3), rtol=1e-3, atol=1e-4)
    assert (hog()(torch.full((1, 3, 16, 16), 0.3)) == 0).all()


def test_what_tells_no_direction_is_refused():
    with pytest.raises(UserError, match="hog_bins=1"):
        hog(8, 1)
    with pytest.raises(UserError, match="cells of 0 pixels"):
        hog(0)
