import pytest
import torch
from torch.nn import functional

from ssl_swin.models.heads import Head
from ssl_swin.models.losses import l2
from ssl_swin.models.masking import MASKS, random_mask
from ssl_swin.models.no_mask import no_mask
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from tests.models.targets.kinds import tiny_teacher
from tests.models.test_simmim import tiny

INDEX = torch.arange(3)


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5)])
def test_nothing_is_hidden(shape):
    mask = MASKS["none"](INDEX, 2, 0, shape, 0)
    assert mask.shape == (3, *shape)
    assert mask.dtype == torch.bool
    assert not mask.any()
    assert no_mask(INDEX.to("meta"), INDEX, 0, shape, 0).is_meta


def test_all_is_seen_and_all_counts(images):
    torch.manual_seed(0)
    model = SimMIM(tiny(), 16, loss=l2, token="unused")
    mask = no_mask(INDEX, 0, 0, (4, 4))
    wanted = functional.mse_loss(model.decoder(model.encoder(images)), images)
    torch.testing.assert_close(model(images, mask), wanted)
    torch.testing.assert_close(model.error_per_image(images, mask).mean(), wanted)
    assert model.positions(0, 16) == [64 * 64]
    model(images, mask).backward()
    without = {name for name, one in model.named_parameters() if one.grad is None}
    assert without == {"encoder.mask_token"}
    assert not model.encoder.mask_token.requires_grad


def test_the_loss_of_feature_distillation_is_that_of_a_plain_program(images):
    """Whole images, the teacher's whitened map, smooth L1 with a beta of 2, the mean of all."""
    torch.manual_seed(0)
    teacher = tiny_teacher(3, (64, 64), stride=8)
    target = TARGETS["teacher"](teacher=teacher, stride=8)
    loss = lambda target, found: functional.smooth_l1_loss(found, target, reduction="none", beta=2)  # noqa: E731
    model = SimMIM(tiny(), 16, target, loss, token="unused")
    maps = teacher.network(images)
    mean = maps.mean(1, keepdim=True)
    features = (maps - mean) / (maps.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    found = functional.conv2d(
        model.encoder(images), model.decoder.conv.weight, model.decoder.conv.bias
    )
    error = (found - features).abs()
    wanted = torch.where(error < 2, error.square() / 4, error - 1).mean()
    torch.testing.assert_close(model(images, no_mask(INDEX, 0, 0, (4, 4))), wanted)


def test_a_head_everywhere_counts_what_is_visible_too(images):
    torch.manual_seed(0)
    target = TARGETS["pixels"]()
    model = SimMIM(tiny(), 16, heads=[Head(target, l2, everywhere=True)])
    torch.manual_seed(0)
    masked = SimMIM(tiny(), 16, target, l2)
    mask = random_mask(INDEX, 0, 0, (4, 4), 10)
    found = model.reconstruct(images, mask)
    assert torch.equal(found, masked.reconstruct(images, mask))  # it sees no more
    torch.testing.assert_close(model(images, mask), functional.mse_loss(found, images))
    assert not torch.equal(model(images, mask), masked(images, mask))
    assert model.positions(10, 16) == [64 * 64]
    assert [one.tolist() for one in model.num_counted(mask)] == [[64 * 64] * 3]
    there = torch.ones_like(images, dtype=torch.bool)
    there[1, :, :32] = False
    (num,) = model.num_counted(mask, there)
    assert num.tolist() == [64 * 64, 32 * 64, 64 * 64]
