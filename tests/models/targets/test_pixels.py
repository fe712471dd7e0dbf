import pytest
import torch

from ssl_swin.models.targets import TARGETS


def test_the_plain_target_is_the_image():
    images = torch.randn(1, 3, 8, 8)
    assert TARGETS["pixels"]()(images) is images


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_the_options_of_all_and_keeps_the_shape(name):
    images = torch.randn(2, 3, 8, 12)
    assert TARGETS[name](norm_size=3, option_of_another=None)(images).shape == images.shape
