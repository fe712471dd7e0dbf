"""Targets are the same on every device."""

import pytest
import torch

from ssl_swin.models.targets import TARGETS
from tests.gpu.device import DEVICE
from tests.models.targets.kinds import options_of


@pytest.mark.parametrize("name", TARGETS)
def test_they_are_those_of_the_cpu(name):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4, 3, 16, 24), generator=generator)  # of which edges tie
    images = (pixels / 255 - 0.45) / 0.25
    here = TARGETS[name](**options_of(name, 3))(images)
    there = TARGETS[name](**options_of(name, 3))(images.to(DEVICE))
    assert there.device.type == DEVICE.type
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
