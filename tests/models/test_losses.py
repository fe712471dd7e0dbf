import pytest
import torch
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.losses import (
    LOSSES,
    cosine,
    find_loss,
    hidden_px,
    masked_error_per_image,
    masked_mean,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    target, prediction = torch.randn(2, 3, 4, 8, 8, generator=generator).unbind(0)
    return target, prediction, torch.rand(3, 8, 8, generator=generator) < 0.6


def mean(target, prediction, mask):
    return masked_mean(masked_error_per_image(target, prediction, mask).sum(), mask.sum(), 4)


def test_the_loss_is_the_mean_error_over_hidden_pixels(batch):
    target, prediction, mask = batch
    total = count = 0
    for image in range(3):
        for row in range(8):
            for col in range(8):
                if mask[image, row, col]:
                    count += 1
                    for chan in range(4):
                        at = (image, chan, row, col)
                        total += abs(target[at].item() - prediction[at].item())
    assert mean(*batch).item() == pytest.approx(total / count / 4, rel=1e-6)


def test_visible_pixels_cost_nothing(batch):
    target, prediction, mask = batch
    changed = torch.where(mask.unsqueeze(1), prediction, prediction + 5)
    assert torch.equal(mean(target, changed, mask), mean(*batch))


def test_errors_of_uneven_micro_batches_add_up_to_the_loss_of_the_batch(batch):
    target, prediction, mask = (p.double() if p.dtype != torch.bool else p for p in batch)
    error_sum = sum(
        masked_error_per_image(target[part], prediction[part], mask[part]).sum()
        for part in (slice(0, 1), slice(1, 3))
    )
    loss = masked_mean(error_sum, int(mask.sum()), num_chans=4)
    assert loss.item() == pytest.approx(mean(target, prediction, mask).item(), rel=1e-12)


def test_the_loss_is_float32_in_half_precision_and_float64_in_double(batch):
    target, prediction, mask = batch
    assert mean(target, prediction.bfloat16(), mask).dtype == torch.float32
    assert mean(target.bfloat16(), prediction.bfloat16(), mask).dtype == torch.float32
    assert mean(target.double(), prediction, mask).dtype == torch.float64


def test_the_loss_is_finite_when_nothing_is_hidden(batch):
    target, prediction, mask = batch
    assert mean(target, prediction, torch.zeros_like(mask)).item() == 0.0


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "cosine"])
def test_every_other_loss_is_elementwise_and_nothing_for_a_perfect_prediction(name, batch):
    target, prediction, _ = batch
    error = LOSSES[name](target, prediction)
    assert error.shape == target.shape
    assert torch.equal(error[0, 1, 2], LOSSES[name](target[0, 1, 2], prediction[0, 1, 2]))
    assert (LOSSES[name](target, target) == 0).all()


def test_the_mean_over_channels_of_a_cosine_loss_is_minus_the_cosine(batch):
    target, prediction, mask = batch
    wanted = -functional.cosine_similarity(target, prediction, dim=1)
    torch.testing.assert_close(cosine(target, prediction).mean(1), wanted)
    sums = masked_error_per_image(target, prediction, mask, cosine)
    torch.testing.assert_close(masked_mean(sums.sum(), mask.sum(), 4), wanted[mask].mean())
    torch.testing.assert_close(cosine(target, 9 * target).mean(), torch.tensor(-1.0))
    vectors = target[:, :, 0, 0], prediction[:, :, 0, 0]
    assert torch.equal(cosine(*vectors), cosine(target, prediction)[:, :, 0, 0])


def test_a_vector_of_zeros_has_a_cosine_of_0_and_a_finite_gradient(batch):
    target, prediction, _ = batch
    for length in (0.0, 1e-20):
        short = (length * prediction).requires_grad_()
        error = cosine(target, short)
        error.sum().backward()
        assert error.abs().max() < 1e-10
        assert short.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cosine(target, prediction).dtype == torch.float32


def test_what_is_not_there_has_no_error_and_is_not_counted():
    torch.manual_seed(0)
    target, prediction = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    mask, there = torch.rand(2, 4, 4) > 0.4, torch.rand(2, 3, 4, 4) > 0.3
    sums = masked_error_per_image(target, prediction, mask, there=there)
    num = hidden_px(mask, there)
    for place in range(2):
        counts = mask[place] & there[place]
        error = (target[place] - prediction[place]).abs()[counts]
        assert sums[place].item() == pytest.approx(error.sum().item(), rel=1e-5)
        assert num[place].item() * 3 == pytest.approx(len(error))
    whole = torch.ones_like(there)
    assert torch.equal(hidden_px(mask, whole), mask.sum((1, 2)).double())
    plain = masked_error_per_image(target, prediction, mask)
    assert torch.equal(masked_error_per_image(target, prediction, mask, there=whole), plain)


def test_losses_are_those_of_their_names():
    target, prediction = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.5, -1.0, 3.0])
    found = {name: LOSSES[name](target, prediction).tolist() for name in ("l1", "l2", "smooth_l1")}
    assert found["l1"] == [0.5, 1.0, 3.0]
    assert found["l2"] == [0.25, 1.0, 9.0]
    assert found["smooth_l1"] == [0.125, 0.5, 2.5]


def test_a_beta_is_that_of_the_loss_that_has_one():
    target, prediction = torch.zeros(2), torch.tensor([1.0, 3.0])
    assert find_loss("loss", "smooth_l1", beta=2.0)(target, prediction).tolist() == [0.25, 2.0]
    assert find_loss("loss", "l2", beta=2.0) is LOSSES["l2"]
    with pytest.raises(UserError, match=r"heads\.loss='l3' is not known"):
        find_loss("heads.loss", "l3")
