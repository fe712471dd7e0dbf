"""Losses and sums of what is no one class, against torch's own."""

import pytest
import torch
from torch.nn import functional

from ssl_swin.training.tasks import NUMBER_LOSSES, Numbers, SeveralClasses


def test_several_classes_are_binary_cross_entropies_with_soft_targets():
    logits, target = torch.randn(5, 3), torch.rand(5, 3)
    losses = SeveralClasses().losses(logits, target)
    share = logits.sigmoid()
    each = -(target * share.log() + (1 - target) * (1 - share).log())
    torch.testing.assert_close(losses, each.mean(dim=1))
    measured = SeveralClasses().measure(logits.double(), (target > 0.5).double())
    assert measured["heldout_loss"].ndim == 0


@pytest.mark.parametrize("loss", NUMBER_LOSSES)
def test_numbers_are_held_against_theirs(loss):
    found, target = 3 * torch.randn(6, 2).double(), torch.randn(6, 2).double()
    task = Numbers(loss, (2.0, 4.0))
    losses = task.losses(found, target)
    assert losses.shape == (6,)
    torch.testing.assert_close(losses.mean(), NUMBER_LOSSES[loss](found, target))
    assert Numbers("l1", (1.0,)).losses(found, target)[0] == functional.l1_loss(found[0], target[0])
    errors = task.measure(found, target)["errors_of_number"]
    torch.testing.assert_close(errors, (found - target).abs().sum(0) * torch.tensor([2.0, 4.0]))
