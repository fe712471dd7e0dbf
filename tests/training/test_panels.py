import numpy as np
import pytest
import torch

from ssl_swin.training.panels import GAP_PX, HIDDEN, MIN_SIDE_PX, TITLE_PX, make_panel

MASK = torch.tensor([[[True, False], [False, True]]])  # of four patches of 8 pixels


def tiles(panel, side, row):
    """The four pictures of a row, uint8 (side, side, 3) each."""
    pixels = np.asarray(panel)
    top = TITLE_PX + row * (side + GAP_PX)
    lefts = [GAP_PX + place * (side + GAP_PX) for place in range(4)]
    return [pixels[top : top + side, left : left + side] for left in lefts]


@pytest.mark.parametrize("chans", [1, 3])
def test_a_row_shows_the_image_its_visible_part_and_the_reconstruction(chans):
    images = torch.full((2, chans, 16, 16), 10, dtype=torch.uint8)
    images[1] = 20
    rebuilt = torch.full_like(images, 200)
    panel = make_panel(images, rebuilt, MASK.expand(2, 2, 2), 8)
    assert panel.mode == "RGB"
    assert MIN_SIDE_PX % 16 == 0
    hidden = np.kron(MASK[0].numpy(), np.ones((MIN_SIDE_PX // 2, MIN_SIDE_PX // 2), dtype=bool))
    for row, value in enumerate((10, 20)):
        original, masked, rebuild, pasted = tiles(panel, MIN_SIDE_PX, row)
        assert (original == value).all()
        assert (masked == np.where(hidden, HIDDEN, value)[:, :, None]).all()
        assert (rebuild == 200).all()
        assert (pasted == np.where(hidden, 200, value)[:, :, None]).all()


def test_large_images_are_not_enlarged():
    images = torch.zeros(1, 3, 160, 160, dtype=torch.uint8)
    panel = make_panel(images, images, MASK, 80)
    assert panel.size == (4 * (160 + GAP_PX) + GAP_PX, 160 + 2 * GAP_PX + TITLE_PX)
