import pytest
import torch

from ssl_swin.models.reconstruction import (
    PixelDecoder,
    masked_error_per_image,
    masked_error_sum,
    masked_loss,
    masked_mean,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images, rebuilt = torch.randn(2, 3, 4, 8, 8, generator=generator).unbind(0)
    return images, rebuilt, torch.rand(3, 8, 8, generator=generator) < 0.6


def test_the_loss_is_the_mean_error_over_hidden_pixels(batch):
    images, rebuilt, mask = batch
    total = count = 0
    for image in range(3):
        for row in range(8):
            for col in range(8):
                if mask[image, row, col]:
                    count += 1
                    for chan in range(4):
                        at = (image, chan, row, col)
                        total += abs(images[at].item() - rebuilt[at].item())
    assert masked_loss(*batch).item() == pytest.approx(total / count / 4, rel=1e-6)


def test_visible_pixels_cost_nothing(batch):
    images, rebuilt, mask = batch
    changed = torch.where(mask.unsqueeze(1), rebuilt, rebuilt + 5)
    assert torch.equal(masked_loss(images, changed, mask), masked_loss(*batch))


def test_errors_of_uneven_micro_batches_add_up_to_the_loss_of_the_batch(batch):
    images, rebuilt, mask = (part.double() if part.dtype != torch.bool else part for part in batch)
    error_sum = sum(
        masked_error_sum(images[part], rebuilt[part], mask[part])
        for part in (slice(0, 1), slice(1, 3))
    )
    loss = masked_mean(error_sum, int(mask.sum()), in_chans=4)
    assert loss.item() == pytest.approx(masked_loss(images, rebuilt, mask).item(), rel=1e-12)
    per_image = masked_error_per_image(images, rebuilt, mask)
    assert per_image.sum().item() == pytest.approx(error_sum.item(), rel=1e-12)


def test_the_loss_is_float32_in_half_precision_and_float64_in_double(batch):
    images, rebuilt, mask = batch
    assert masked_loss(images, rebuilt.bfloat16(), mask).dtype == torch.float32
    assert masked_loss(images.bfloat16(), rebuilt.bfloat16(), mask).dtype == torch.float32
    assert masked_loss(images.double(), rebuilt, mask).dtype == torch.float64


def test_the_loss_is_finite_when_nothing_is_hidden(batch):
    images, rebuilt, mask = batch
    assert masked_loss(images, rebuilt, torch.zeros_like(mask)).item() == 0.0


def test_each_position_is_rebuilt_as_the_square_of_pixels_below_it():
    decoder = PixelDecoder(num_features=5, stride=4, in_chans=3)
    features = torch.randn(2, 5, 3, 2)
    rebuilt = decoder(features)
    assert rebuilt.shape == (2, 3, 12, 8)
    changed = features.clone()
    changed[:, :, 1, 1] += 1
    rows, cols = (decoder(changed) != rebuilt).any(dim=(0, 1)).nonzero().unbind(1)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 7, 4, 7)
