import numpy as np
import pytest
import torch
from torch.nn import functional

from ssl_swin.models.class_loss import ClassLoss, balanced_weights

WEIGHTS = (0.5, 1.0, 3.0)


@pytest.fixture
def logits():
    drawn = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (4 * drawn).requires_grad_()


@pytest.fixture
def soft():
    """Targets as mixing and smoothing make them."""
    return torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).double().softmax(dim=1)


def test_unweighted_it_is_the_cross_entropy_to_the_bit(logits, soft):
    expected = -(soft * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
    assert torch.equal(ClassLoss()(logits, soft), expected)


def test_weighted_it_is_torch_s_with_class_probabilities(logits, soft):
    expected = functional.cross_entropy(
        logits, soft, torch.tensor(WEIGHTS).double(), reduction="none"
    )
    torch.testing.assert_close(ClassLoss(WEIGHTS).double()(logits, soft), expected)


def test_focal_is_the_paper_s_for_one_class_per_image(logits):
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    found = ClassLoss(WEIGHTS, 2.0).double()(logits, functional.one_hot(label, 3))
    p = logits.softmax(1)[range(6), label]
    alpha = torch.tensor(WEIGHTS).double()[label]
    torch.testing.assert_close(found, -alpha * (1 - p) ** 2 * p.log())


def test_focal_of_a_mixed_image_is_the_mix_of_its_classes(logits):
    one, other = (torch.eye(3).double()[row].expand(6, 3) for row in (0, 2))
    loss = ClassLoss(WEIGHTS, 1.5).double()
    mixed = loss(logits, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(mixed, 0.3 * loss(logits, one) + 0.7 * loss(logits, other))


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_what_is_surely_right_has_a_finite_gradient(gamma):
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]], requires_grad=True)
    loss = ClassLoss(gamma=gamma)(logits, torch.tensor([[1.0, 0, 0], [0.9, 0.05, 0.05]]))
    loss.sum().backward()
    assert loss[0] == 0
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


def test_weights_are_no_part_of_the_state():
    assert ClassLoss(WEIGHTS).state_dict() == {}


@pytest.mark.parametrize("num", [[30, 10, 60], [5, 0, 95], [1, 1, 1]])
def test_weighted_classes_weigh_alike_and_images_one_in_the_mean(num):
    frequency = np.array(num) / sum(num)
    weights = balanced_weights(frequency)
    shares = (weights * frequency)[frequency > 0]
    np.testing.assert_allclose(shares, 1 / np.count_nonzero(num))
    assert (weights[frequency == 0] == 1).all()
