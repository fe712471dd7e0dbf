import pytest
import torch

from ssl_swin.training.masks import Masking


def test_a_mask_depends_on_seed_epoch_and_image_and_hides_its_share():
    masking, index = Masking(8, (6, 6), 0.6, seed=0), torch.arange(20)
    first = masking.draw(index, 3)
    assert first.shape == (20, 6, 6)
    assert (first.flatten(1).sum(dim=1) == 22).all()  # 21.6, rounded up
    assert masking.num_hidden == 22
    assert torch.equal(masking.draw(index[7:], torch.full((13,), 3)), first[7:])
    for other in (masking.draw(index, 4), Masking(8, (6, 6), 0.6, seed=1).draw(index, 3)):
        assert not torch.equal(other, first)


def test_one_mask_for_all_depends_on_seed_and_step_alone():
    masking, index = Masking(8, (6, 6), 0.6, seed=0, one_for_all=True), torch.arange(20)
    masks = masking.draw(index, torch.arange(20), 7)
    assert masks.shape == (20, 6, 6)
    assert (masks == masks[0]).all()
    assert masks[0].sum() == masking.num_hidden
    assert torch.equal(masking.draw(index[5:9] + 3, 1, 7), masks[:4])
    others = [masking.draw(index, 0, 8), masking.draw(index, 0), masking.draw(index, 0, 0)]
    others += [Masking(8, (6, 6), 0.6, seed=1, one_for_all=True).draw(index, 0, 7)]
    assert len({one[0].numpy().tobytes() for one in [masks, *others]}) == 5


@pytest.mark.parametrize("mask_ratio", [0.0, 1.0, 0.99])
def test_a_share_that_hides_nothing_or_everything_is_refused(mask_ratio):
    with pytest.raises(ValueError, match="hides"):
        Masking(8, (2, 2), mask_ratio, seed=0)
