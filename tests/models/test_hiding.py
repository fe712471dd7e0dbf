from typing import get_args

import pytest
import torch

from ssl_swin.config.model import MaskConfig
from ssl_swin.errors import UserError
from ssl_swin.models.hiding import Token, painted, require_leaving_out, the_one_of
from ssl_swin.models.masking import random_mask
from tests.models.test_simmim import tiny
from tests.toys.toy_encoder import ToyEncoder


def test_hidden_pixels_have_the_colour_and_others_stay():
    images = torch.randn(2, 3, 8, 4, dtype=torch.float64)
    mask = torch.tensor([[[1], [0]], [[0], [0]]], dtype=torch.bool)
    colour = torch.tensor([1.0, 2.0, 3.0])
    found = painted(images, mask, 4, colour)
    assert found.dtype == torch.float64
    assert (found[0, :, :4] == colour.view(3, 1, 1)).all()
    assert torch.equal(found[0, :, 4:], images[0, :, 4:])
    assert torch.equal(found[1], images[1])


def test_one_mask_is_that_of_all_images_or_refused():
    mask = random_mask(torch.arange(3), 0, 0, (4, 4), 10)
    assert torch.equal(the_one_of(mask[:1].expand(3, -1, -1)), mask[:1])
    with pytest.raises(ValueError, match="all images must have one mask"):
        the_one_of(mask)


def test_an_encoder_must_know_how_to_leave_out():
    require_leaving_out(tiny(), 16)
    with pytest.raises(UserError, match="mask_patch_size=4 is no multiple of 8"):
        require_leaving_out(tiny(), 4)
    with pytest.raises(UserError, match="the encoder toy has no method `visible_stages`"):
        require_leaving_out(ToyEncoder(img_size=64), 16)


def test_the_setting_has_all_tokens():
    given = get_args(MaskConfig.__annotations__["token"])
    assert {*given, "unused"} == {*get_args(Token)}  # which is what mask.kind=none makes of it
