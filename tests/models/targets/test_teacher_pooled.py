import pytest
import torch
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.heads import Head
from ssl_swin.models.losses import cosine, l1
from ssl_swin.models.masking import random_mask, to_tokens
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from ssl_swin.models.targets.teacher_pooled import teacher_pooled
from tests.models.targets.kinds import tiny_teacher
from tests.models.test_simmim import tiny

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
MASK = random_mask(torch.arange(3), 0, 0, (4, 4), 10)
TEACHER = tiny_teacher(3, (96, 96))


def gfm(weight=1.0):
    torch.manual_seed(0)
    pixels = Head(TARGETS["pixels"](), l1, 2, name="pixels")
    features = Head(teacher_pooled(TEACHER), cosine, 2, weight, "features", "start")
    return SimMIM(tiny(), 16, heads=[pixels, features])


def test_it_is_the_mean_of_the_teachers_map_not_whitened():
    found = teacher_pooled(TEACHER)(IMAGES)
    resized = functional.interpolate(IMAGES, (96, 96), mode="bicubic", antialias=True)
    assert found.shape == (3, 5, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], TEACHER.network(resized).mean((2, 3)))
    assert not found.requires_grad


def test_the_loss_of_gfm_is_that_of_a_plain_program():
    """L1 of hidden pixels, less the cosine of mean features: the student's before stage 4.

    Here of two stages the second. The student sees the masked image, the teacher all of it.
    """
    model = gfm()
    encoder, (decoder, pooling) = model.encoder, model.decoders
    token_mask = to_tokens(MASK, 4)
    rebuilt = decoder(encoder(IMAGES, token_mask))
    hidden = MASK.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(IMAGES)
    of_pixels = (rebuilt - IMAGES).abs()[hidden].mean()
    # what the last merging makes: read off by a hook, tokens in any order
    merged = []
    merging = encoder.backbone.layers[1].downsample
    hook = merging.register_forward_hook(lambda _module, _given, output: merged.append(output))
    encoder(IMAGES, token_mask)
    hook.remove()
    student = functional.linear(merged[0].mean(1), pooling.linear.weight, pooling.linear.bias)
    resized = functional.interpolate(IMAGES, (96, 96), mode="bicubic", antialias=True)
    teacher = TEACHER.network(resized).mean((2, 3))
    wanted = of_pixels - functional.cosine_similarity(student, teacher).mean()
    torch.testing.assert_close(model(IMAGES, MASK), wanted, rtol=1e-5, atol=1e-5)
    errors = model.errors_per_image(IMAGES, MASK)
    torch.testing.assert_close(
        errors[1], -functional.cosine_similarity(student, teacher), rtol=1e-4, atol=1e-4
    )


def test_an_image_counts_once_whatever_is_hidden():
    model = gfm(0.5).double()
    assert model.positions(10, 16) == [10 * 16 * 16, 1]
    assert [one.tolist() for one in model.num_counted(MASK)] == [[2560] * 3, [1] * 3]
    images, num = IMAGES.double(), [3 * one for one in model.positions(10, 16)]
    sums = sum(model.error_sums(images[part], MASK[part]) for part in (slice(1), slice(1, 3)))
    torch.testing.assert_close(model.total(model.means(sums, num)), model(images, MASK))
    there = torch.ones_like(IMAGES, dtype=torch.bool)
    there[0, :, 5:], there[2] = False, False
    assert model.num_counted(MASK, there)[1].tolist() == [1, 1, 0]
    assert model.errors_per_image(images, MASK, there)[1, 2] == 0


def test_without_a_network_it_is_refused():
    with pytest.raises(UserError, match=r"the target teacher_pooled needs a network; give target"):
        teacher_pooled()
