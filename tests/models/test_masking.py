import math

import pytest
import torch

from ssl_swin.models.masking import (
    MASKS,
    check_mask_patch_size,
    count_hidden,
    grid,
    hidden_by,
    random_mask,
    to_pixels,
    to_tokens,
)
from ssl_swin.models.no_mask import no_mask
from tests.toys.toy_mask import toy_mask

HIDING = {name: one for name, one in MASKS.items() if one is not no_mask}
ALL_MASKS = {**HIDING, "toy": toy_mask}
INDEX = torch.tensor([0, 1, 7, 1_281_166, 2**40])
FROZEN_BASE = [
    ["..#.##", ".##.##", "#..##.", "####..", "##...#", "###.##"],
    [".#####", "###.##", ".#..#.", "#.####", "#...##", "#..#.."],
]
FROZEN_SMALL = ["...##", ".###.", "..###"]


def text(mask):
    return ["".join(".#"[hidden] for hidden in row) for row in mask.tolist()]


def test_masks_are_frozen():
    masks = random_mask(torch.tensor([0, 1_281_166]), epoch=0, seed=0, grid=(6, 6), num_hidden=22)
    assert [text(mask) for mask in masks] == FROZEN_BASE
    (mask,) = random_mask(torch.tensor([5]), epoch=3, seed=-2, grid=(3, 5), num_hidden=8)
    assert text(mask) == FROZEN_SMALL


@pytest.mark.parametrize("kind", ALL_MASKS)
@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (3, 5), (1, 24)])
def test_every_kind_hides_as_many_patches_in_every_image(kind, shape, ratio):
    num_hidden = count_hidden(shape, ratio)
    assert num_hidden == math.ceil(ratio * math.prod(shape))
    masks = ALL_MASKS[kind](torch.arange(50), 1, 2, shape, num_hidden)
    assert masks.shape == (50, *shape)
    assert masks.dtype == torch.bool
    assert set(masks.sum((1, 2)).tolist()) == {num_hidden}


@pytest.mark.parametrize("kind", ALL_MASKS)
@pytest.mark.parametrize("split", [1, 2, 3])
def test_a_mask_does_not_depend_on_the_rest_of_the_batch(split, kind):
    whole = ALL_MASKS[kind](INDEX, 4, 1, (6, 6), 22)
    parts = [ALL_MASKS[kind](part, 4, 1, (6, 6), 22) for part in INDEX.split(split)]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("kind", HIDING)
@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}, {"epoch": 2**40}, {"seed": -1}])
def test_another_epoch_or_seed_hides_other_patches(kind, change):
    base = {"epoch": 0, "seed": 0, "grid": (12, 12), "num_hidden": 58}
    masks, others = HIDING[kind](INDEX, **base), HIDING[kind](INDEX, **(base | change))
    assert (masks != others).any(dim=(1, 2)).all()


@pytest.mark.parametrize("kind", ALL_MASKS)
def test_each_image_may_be_of_its_own_epoch_and_the_device_is_asked_for_no_number(kind):
    epochs, given = torch.tensor([3, 3, 0, 1, 7]), (4, (3, 5), 8)
    masks = ALL_MASKS[kind](INDEX, epochs, *given)
    for image, epoch in enumerate(epochs.tolist()):
        alone = ALL_MASKS[kind](INDEX[image : image + 1], epoch, *given)
        assert torch.equal(masks[image], alone[0])
    assert ALL_MASKS[kind](INDEX.to("meta"), 0, *given).is_meta


def test_epoch_and_seed_do_not_stand_for_each_other():
    one = random_mask(INDEX, epoch=1, seed=2, grid=(6, 6), num_hidden=22)
    two = random_mask(INDEX, epoch=2, seed=1, grid=(6, 6), num_hidden=22)
    assert not torch.equal(one, two)


def test_every_place_is_hidden_equally_often_and_independently():
    masks = random_mask(torch.arange(40_000), 0, 0, (6, 6), 22).flatten(1).double()
    share = 22 / 36
    assert (masks.mean(0) - share).abs().max() < 0.012  # five standard deviations
    together = masks.T @ masks / len(masks)
    expected = share * 21 / 35
    off_diagonal = ~torch.eye(36, dtype=torch.bool)
    assert (together - expected)[off_diagonal].abs().max() < 0.014
    neighbours = (masks[1:] * masks[:-1]).mean()
    assert abs(neighbours - share**2) < 0.002


@pytest.mark.parametrize("kind", HIDING)
def test_an_empty_batch_has_no_masks(kind):
    assert MASKS[kind](INDEX[:0], 0, 0, (6, 6), 22).shape == (0, 6, 6)


def test_the_official_settings_hide_22_of_36():
    assert count_hidden(grid(192, 32), 0.6) == 22
    assert count_hidden(grid(224, 32), 0.6) == 30


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.0, 0.99, 2.0, float("nan"), float("inf")])
def test_hiding_nothing_or_everything_is_refused(ratio):
    with pytest.raises(ValueError, match="hide at least one and leave at least one"):
        count_hidden((6, 6), ratio)


def test_mask_patches_must_tile_the_image_and_tokens_the_mask_patches():
    check_mask_patch_size((192, 224), 4, 32)
    with pytest.raises(ValueError, match="mask_patch_size=32 does not divide img_size=200"):
        check_mask_patch_size(200, 4, 32)
    with pytest.raises(ValueError, match="patch_size=5 does not divide mask_patch_size=32"):
        check_mask_patch_size(192, 5, 32)
    with pytest.raises(ValueError, match="mask_patch_size=0"):
        grid(192, 0)


@pytest.mark.parametrize("expand", [to_tokens, to_pixels])
def test_each_patch_becomes_a_square_of_its_value(expand):
    mask = random_mask(INDEX, 0, 0, (2, 3), 3)
    large = expand(mask, 4)
    assert large.shape == (5, 8, 12)
    for row in range(8):
        for col in range(12):
            assert torch.equal(large[:, row, col], mask[:, row // 4, col // 4])


def test_masks_that_hide_hide_their_share_and_no_mask_nothing():
    assert hidden_by(no_mask, (6, 6), 0.6) == 0
    assert {hidden_by(one, (6, 6), 0.6) for one in HIDING.values()} == {22}
    with pytest.raises(ValueError, match="hide at least one"):
        hidden_by(random_mask, (6, 6), 1.0)
