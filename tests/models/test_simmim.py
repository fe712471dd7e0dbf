import pytest
import torch

from ssl_swin.models.masking import random_mask, to_pixels
from ssl_swin.models.reconstruction import masked_loss
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.targets import normalized_target


def tiny(**change):
    sizes = {"img_size": 64, "window_size": 4, "embed_dim": 16} | change
    name = "swin_tiny_patch4_window7_224"
    return SwinEncoder(name, depths=(2, 2), num_heads=(2, 4), **sizes)


@pytest.fixture
def images():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    return random_mask(torch.arange(4), 0, 0, (4, 4), 0.6)


@pytest.mark.parametrize("norm_target_size", [None, 7])
def test_the_output_is_the_masked_loss_of_the_reconstruction(images, mask, norm_target_size):
    model = SimMIM(tiny(), mask_patch_size=16, norm_target_size=norm_target_size)
    output = model(images, mask)
    target = images if norm_target_size is None else normalized_target(images, 7)
    pixels = to_pixels(mask, 16)
    torch.testing.assert_close(output.loss, masked_loss(target, output.reconstruction, pixels))
    assert output.reconstruction.shape == images.shape
    assert output.num_masked_px == pixels.sum()


def test_the_pixels_to_predict_are_never_shown(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16)
    hidden = to_pixels(mask, 16).unsqueeze(1)
    changed = torch.where(hidden, torch.zeros_like(images), images)
    with torch.no_grad():
        assert torch.equal(model.reconstruct(images, mask), model.reconstruct(changed, mask))


def test_micro_batches_learn_what_the_whole_batch_would(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16).double()
    images = images.double()
    model(images, mask).loss.backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    num_masked_px = int(mask.sum()) * 16**2
    for part in (slice(0, 1), slice(1, 4)):
        output = model(images[part], mask[part])
        (output.error_sum / (num_masked_px + 1e-5) / 3).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-9, atol=1e-12)


def test_the_mean_over_images_is_the_loss_of_the_batch(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16).double()
    errors = model.error_per_image(images.double(), mask)
    assert errors.shape == (4,)
    torch.testing.assert_close(errors.mean(), model(images.double(), mask).loss)
    alone = torch.cat(
        [model.error_per_image(images[i : i + 1].double(), mask[i : i + 1]) for i in range(4)]
    )
    torch.testing.assert_close(errors, alone)


def test_the_loss_is_float32_under_autocast(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, mask)
    assert output.reconstruction.dtype == torch.bfloat16
    assert output.loss.dtype == output.error_sum.dtype == torch.float32


def test_images_may_be_wide_and_have_other_channels():
    model = SimMIM(tiny(img_size=(64, 96), in_chans=5), mask_patch_size=16)
    mask = random_mask(torch.arange(2), 0, 0, (4, 6), 0.6)
    assert model(torch.randn(2, 5, 64, 96), mask).reconstruction.shape == (2, 5, 64, 96)


def test_a_few_steps_learn_a_flat_image(mask):
    torch.manual_seed(0)
    model = SimMIM(tiny(), mask_patch_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    images = torch.full((4, 3, 64, 64), 0.7)
    first = model(images, mask).loss.item()
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(images, mask).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"mask_patch_size": 24}, "does not divide img_size"),
        ({"mask_patch_size": 2}, "does not divide mask_patch_size"),
        ({"mask_patch_size": 16, "norm_target_size": 46}, "odd number"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        SimMIM(tiny(), **arguments)
