import pytest
import torch

from ssl_swin.models.block_mask import block_mask
from ssl_swin.models.masking import random_mask
from tests.models.test_masking import text

FROZEN = [
    ["......", "..####", ".#####", ".#####", "####.#", "##...#"],
    ["####.#", "..##.#", ".....#", ".....#", "######", "######"],
]


def test_masks_are_frozen():
    masks = block_mask(torch.tensor([0, 1_281_166]), 3, 5, (6, 6), 22)
    assert [text(mask) for mask in masks] == FROZEN


def neighbours(masks):
    """The share of hidden patches' neighbours, to the right and below, that are hidden, too."""
    pairs = [(masks[:, :, 1:], masks[:, :, :-1]), (masks[:, 1:], masks[:, :-1])]
    return sum((one & other).sum().item() for one, other in pairs) / masks.sum().item()


def test_what_is_hidden_hangs_together():
    given = torch.arange(500), 0, 0, (12, 12), 58
    assert neighbours(block_mask(*given)) > 1.5
    assert neighbours(random_mask(*given)) < 0.8


@pytest.mark.parametrize("num_hidden", [14, 72, 130])
def test_every_place_is_hidden_about_as_often(num_hidden):
    share = block_mask(torch.arange(2000), 0, 0, (12, 12), num_hidden).double().mean(0)
    assert (share - num_hidden / 144).abs().max() < 0.08
