import numpy as np
import torch

from ssl_swin.models.patches import PatchEmbed, PatchMerging
from ssl_swin.models.windows import raster, split_into_windows


def test_patches_are_embedded_as_a_convolution_does_in_the_order_that_is_wanted():
    wanted = split_into_windows((4, 6), (2, 3)).order
    embed = PatchEmbed(4, 3, 16, (4, 6), wanted)
    torch.nn.init.normal_(embed.norm.weight)
    images = torch.randn(2, 3, 16, 24)
    theirs = embed.norm(embed.proj(images).flatten(2).transpose(1, 2))[:, wanted]
    torch.testing.assert_close(embed(images), theirs)


def test_a_token_is_made_of_its_patch_alone():
    embed = PatchEmbed(4, 3, 16, (2, 2), raster((2, 2)))
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(embed(images)[0, 1, 0], images)
    touched = grad[0].abs().sum(0) > 0
    assert touched[:4, 4:].all()
    assert touched.sum() == 16


def test_merging_halves_both_sides_and_doubles_the_channels():
    grid, held = (4, 6), split_into_windows((4, 6), (2, 3), (1, 1)).order
    merging = PatchMerging(8, grid, held, raster((2, 3)))
    x = torch.randn(2, 24, 8)
    out = merging(x[:, held])
    assert out.shape == (2, 6, 16)
    grid_of = x.view(2, 4, 6, 8)  # the paper's: concatenated squares, norm, linear
    parts = [grid_of[:, row::2, col::2] for col in (0, 1) for row in (0, 1)]
    squares = torch.cat(parts, dim=-1)
    torch.testing.assert_close(out, merging.reduction(merging.norm(squares)).flatten(1, 2))


def test_a_merged_token_is_made_of_its_square_alone():
    merging = PatchMerging(8, (4, 4), raster((4, 4)), np.array([3, 2, 1, 0]))
    x = torch.randn(1, 16, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(merging(x)[0, 0].sum(), x)
    assert (grad[0].abs().sum(1) > 0).nonzero().flatten().tolist() == [10, 11, 14, 15]
