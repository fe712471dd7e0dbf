from functools import partial

import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.heads import Head
from ssl_swin.models.losses import LOSSES, masked_mean
from ssl_swin.models.masking import random_mask, to_cells, to_pixels
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.targets import TARGETS
from ssl_swin.models.transformer_decoder import TransformerDecoder
from tests.models.targets.kinds import tiny_teacher
from tests.toys.toy_target import toy_loss, toy_target


def tiny(**change):
    sizes = {"img_size": 64, "window_size": 4, "embed_dim": 16} | change
    name = "swin_tiny_patch4_window7_224"
    return SwinEncoder(name, depths=(2, 2), num_heads=(2, 4), **sizes)


@pytest.fixture
def images():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    return random_mask(torch.arange(4), 0, 0, (4, 4), 10)


@pytest.mark.parametrize("target", [*TARGETS, "toy"])
@pytest.mark.parametrize("loss", [*LOSSES.values(), toy_loss])
def test_the_loss_is_the_mean_error_over_what_is_hidden(images, mask, target, loss):
    options = {"norm_size": 7, "cell_size": 4, "stride": 8, "teacher": tiny_teacher(3, (64, 64))}
    name, target = target, toy_target() if target == "toy" else TARGETS[target](**options)
    model, images = SimMIM(tiny(), 16, target, loss).double(), images.double()
    rebuilt, wanted = model.reconstruct(images, mask), target(images)
    assert rebuilt.shape == wanted.shape
    hidden = torch.ones_like(wanted, dtype=torch.bool)
    if name != "teacher_pooled":  # of which an image has one
        hidden = to_cells(mask, 16, 64 // wanted.shape[-1]).unsqueeze(1).expand_as(wanted)
    error = loss(wanted, rebuilt)[hidden]
    torch.testing.assert_close(model.error_sum(images, mask), error.sum())
    # of 4 positions what is added to their number is most: 1e-5, as in the official code
    torch.testing.assert_close(model(images, mask), error.mean(), rtol=1e-5, atol=1e-6)


def test_the_pixels_to_predict_are_never_shown(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16)
    hidden = to_pixels(mask, 16).unsqueeze(1)
    changed = torch.where(hidden, torch.zeros_like(images), images)
    with torch.no_grad():
        assert torch.equal(model.reconstruct(images, mask), model.reconstruct(changed, mask))


def test_a_colour_painted_on_pixels_is_all_that_is_known_of_them(images, mask):
    torch.manual_seed(0)
    model = SimMIM(tiny(), 16, token="pixels")
    torch.manual_seed(0)
    plain = SimMIM(tiny(), 16)
    assert {*model.state_dict()} - {*plain.state_dict()} == {"pixel_token"}
    hidden = to_pixels(mask, 16).unsqueeze(1)
    model.pixel_token.data.copy_(torch.tensor([0.5, -1.0, 2.0]))
    painted = torch.where(hidden, model.pixel_token.detach().view(3, 1, 1), images)
    with torch.no_grad():
        rebuilt = model.reconstruct(images, mask)
        assert torch.equal(rebuilt, plain.decoder(plain.encoder(painted)))
        assert torch.equal(rebuilt, model.reconstruct(images.where(~hidden, 7.0), mask))
    model(images, mask).backward()
    assert model.pixel_token.grad.abs().min() > 0
    still = {name for name, one in model.named_parameters() if one.grad is None}
    assert still == {"encoder.mask_token"}
    assert not model.encoder.mask_token.requires_grad
    assert plain.encoder.mask_token.requires_grad


def from_visible(**options):
    made = {"dim": 8, "depth": 1, "num_heads": 2, "positions": "sin-cos"} | options
    head = Head(TARGETS["pixels"](), decoder=partial(TransformerDecoder, **made))
    return SimMIM(tiny(), 16, heads=[head], token="none")


def test_what_is_left_out_is_told_by_its_place_and_by_what_is_visible(images, mask):
    model, one = from_visible(), mask[:1].expand(4, -1, -1)
    hidden = to_pixels(one, 16).unsqueeze(1)
    with torch.no_grad():
        rebuilt = model.reconstruct(images, one)
        assert torch.equal(rebuilt, model.reconstruct(images.where(~hidden, 7.0), one))
        _, (*_, last) = model.encoder.visible_stages(images, to_cells(one[:1], 16, 4)[0])
        at = to_cells(one[:1], 16, 8)[0]
        wanted = model.decoder(model.encoder.finish(last), at)
        assert torch.equal(rebuilt, wanted)
        model.decoder.mask_token.add_(1)
        assert (model.reconstruct(images, one) != rebuilt).any()
    model(images, one).backward()
    still = {name for name, one in model.named_parameters() if one.grad is None}
    assert still == {"encoder.mask_token"}
    assert not model.encoder.mask_token.requires_grad
    assert torch.equal(model.random_mask(torch.arange(4))[3], model.random_mask(torch.arange(1))[0])
    with pytest.raises(ValueError, match="all images must have one mask"):
        model(images, mask)


def test_what_is_left_out_needs_a_decoder_that_can_tell_hidden_positions_apart():
    with pytest.raises(UserError, match=r"decoder\.kind=linear sees each position by itself"):
        SimMIM(tiny(), 16, token="none")
    with pytest.raises(UserError, match=r"give decoder\.positions=sin-cos"):
        from_visible(positions="none")
    with pytest.raises(UserError, match="is no multiple of 8"):
        SimMIM(tiny(), 4, token="none")


def test_micro_batches_learn_what_the_whole_batch_would(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16).double()
    images = images.double()
    num_masked_px = int(mask.sum()) * 16**2
    masked_mean(model.error_sum(images, mask), num_masked_px, 3).backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for part in (slice(0, 1), slice(1, 4)):
        masked_mean(model.error_sum(images[part], mask[part]), num_masked_px, 3).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-9, atol=1e-12)


def test_the_mean_over_images_is_the_loss_of_the_batch(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16).double()
    errors = model.error_per_image(images.double(), mask)
    assert errors.shape == (4,)
    loss = masked_mean(model.error_sum(images.double(), mask), 4 * 10 * 16**2, 3)
    torch.testing.assert_close(errors.mean(), loss)
    alone = torch.cat(
        [model.error_per_image(images[i : i + 1].double(), mask[i : i + 1]) for i in range(4)]
    )
    torch.testing.assert_close(errors, alone)


def test_the_loss_is_float32_under_autocast(images, mask):
    model = SimMIM(tiny(), mask_patch_size=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.reconstruct(images, mask).dtype == torch.bfloat16
        assert model(images, mask).dtype == torch.float32
        assert model.error_per_image(images, mask).dtype == torch.float32


def test_images_may_be_wide_and_have_other_channels():
    model = SimMIM(tiny(img_size=(64, 96), in_chans=5), mask_patch_size=16)
    mask = random_mask(torch.arange(2), 0, 0, (4, 6), 15)
    assert model.reconstruct(torch.randn(2, 5, 64, 96), mask).shape == (2, 5, 64, 96)


def test_a_few_steps_learn_a_flat_image(mask):
    torch.manual_seed(0)
    model = SimMIM(tiny(), mask_patch_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    images = torch.full((4, 3, 64, 64), 0.7)
    first = model(images, mask).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(images, mask)
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 3


@pytest.mark.parametrize(
    ("mask_patch_size", "told"),
    [(24, "does not divide img_size"), (2, "does not divide mask_patch_size")],
)
def test_sizes_that_do_not_fit_are_refused(mask_patch_size, told):
    with pytest.raises(ValueError, match=told):
        SimMIM(tiny(), mask_patch_size)


def test_a_name_is_enough():
    sizes = {"window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
    model = SimMIM.of("swin_tiny_patch4_window7_224", 64, 1, 16, "normalised_pixels", **sizes)
    assert (model.encoder.img_size, model.encoder.in_chans) == ((64, 64), 1)
    index, images = torch.arange(2), torch.rand(2, 1, 64, 64)
    mask = model.random_mask(index, epoch=3, mask_ratio=0.5, seed=1)
    assert torch.equal(mask, random_mask(index, 3, 1, (4, 4), 8))
    assert model(images, mask) > 0
    assert model.target(images).mean().abs() < 0.1
    assert not torch.equal(model.random_mask(index), model.random_mask(index, epoch=1))
    with pytest.raises(UserError, match="target='pixel' is not known; give one of pixels"):
        SimMIM.of("swin_tiny_patch4_window7_224", target="pixel")
    with pytest.raises(UserError, match=r"mask_ratio=1\.5 hides"):
        model.random_mask(index, mask_ratio=1.5)
