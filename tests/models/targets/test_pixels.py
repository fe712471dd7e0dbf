import pytest
import torch

from ssl_swin.models.targets import TARGETS
from tests.models.targets.kinds import options_of


def test_the_plain_target_is_the_image():
    images = torch.randn(1, 3, 8, 8)
    assert TARGETS["pixels"]()(images) is images


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_the_options_of_all_and_has_the_shape_it_says(name):
    images = torch.randn(2, 3, 16, 24)
    target = TARGETS[name](**options_of(name, 3), option_of_another=None)
    rows, cols = 16 // target.cell_size, 24 // target.cell_size
    if target.pooled:
        rows = cols = 1
    assert target(images).shape == (2, target.num_chans(3), rows, cols)
    assert target.known(torch.ones(2, 3, 16, 24) > 0).shape[2:] == (rows, cols)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_of_an_image_does_not_depend_on_the_rest_of_the_batch(name):
    images = torch.randn(3, 3, 16, 24, dtype=torch.float64)
    target = TARGETS[name](**options_of(name, 3))
    whole, parts = target(images), torch.cat([target(one[None]) for one in images])
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_float32_under_autocast_and_nothing_is_learned_by_it(name):
    images = torch.randn(2, 3, 16, 24).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TARGETS[name](**options_of(name, 3))(images.detach())
    assert found.dtype == torch.float32
    assert not found.requires_grad


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_asks_the_device_for_no_number(name):
    images = torch.empty(2, 3, 16, 24, device="meta")
    assert TARGETS[name](**options_of(name, 3))(images).is_meta
