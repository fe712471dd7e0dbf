"""What both versions share; each has tests of its own beside these."""

import pytest
import torch

from ssl_swin.models.any_swin import AnySwin
from ssl_swin.models.encoder import ENCODERS, EndsInNorm, HasStages, build_encoder
from ssl_swin.models.flops import count_flops
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.swin_v2 import SwinV2Encoder

SIZES = {"embed_dim": 16, "depths": (2, 1), "num_heads": (2, 4), "window_size": 4}


@pytest.fixture(params=["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def encoder(request):
    return build_encoder(request.param, (32, 64), 3, **SIZES)


def test_each_name_has_its_version():
    kinds = {name: kind for name, kind in ENCODERS.items() if name.startswith("swin")}
    assert {*kinds.values()} == {SwinEncoder, SwinV2Encoder}
    assert not any("_cr_" in name for name in kinds)
    assert {kind for name, kind in kinds.items() if "v2" in name} == {SwinV2Encoder}


def test_both_are_swins_to_the_house(encoder):
    assert isinstance(encoder, AnySwin)
    assert isinstance(encoder, HasStages)
    assert isinstance(encoder, EndsInNorm)
    assert len(encoder.blocks()) == encoder.num_layers == 3
    assert encoder.layer_of("backbone.layers.1.downsample.norm.weight") == 2
    assert encoder.stage_of("backbone.norm.bias") == "stage2"


def test_checkpointed_blocks_have_the_same_gradients(encoder):
    images, grads = torch.randn(2, 3, 32, 64), []
    for on in (False, True):
        encoder.set_grad_checkpointing(on)
        encoder.zero_grad()
        encoder(images, torch.ones(2, 8, 16).bool()).square().sum().backward()
        grads.append([one.grad for one in encoder.parameters()])
    assert all(map(torch.equal, *grads))


def test_its_operations_are_counted_without_computing_them(encoder):
    def step(device):
        module = encoder.to(device)
        return count_flops(
            lambda: module(torch.zeros(1, 3, 32, 64, device=device)).sum().backward()
        )

    assert step("cpu") == step("meta") > 1e6


def test_what_the_other_version_has_is_refused():
    with pytest.raises(ValueError, match="a Swin has no pretrained_window_sizes"):
        SwinEncoder(**SIZES, img_size=32, pretrained_window_sizes=4)
