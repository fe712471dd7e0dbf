import pytest
import timm
import torch

from ssl_swin.errors import UserError
from ssl_swin.features.layers import LayerFeatures
from ssl_swin.features.networks import HouseNetwork, TimmNetwork
from ssl_swin.models.swin import SwinEncoder
from tests.features.conftest import SIZES

SHAPE = 3, 32, 32
IMAGES = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def house():
    torch.manual_seed(0)
    return HouseNetwork(SwinEncoder("swin_tiny_patch4_window7_224", in_chans=3, **SIZES).eval())


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return TimmNetwork(timm.create_model("test_vit", num_classes=0, img_size=32).eval())


def at(network, layer):
    with torch.no_grad():
        return LayerFeatures(network, layer, SHAPE)(IMAGES)


def test_a_stage_of_an_encoder_is_the_mean_of_its_map_and_so_is_its_module(house):
    for number, stage in enumerate(house.body.stages(IMAGES), 1):
        assert torch.equal(at(house, f"stage{number}"), stage.mean((2, 3)))
        by_name = at(house, f"backbone.layers.{number - 1}")
        assert torch.allclose(by_name, stage.mean((2, 3)), atol=1e-6)


def test_the_last_layer_is_what_the_network_gives(house, theirs):
    for network in (house, theirs):
        assert torch.equal(at(network, "last"), network(IMAGES))
    assert torch.equal(at(theirs, "pooled"), theirs.body(IMAGES))


def test_a_block_of_a_vit_is_the_mean_over_its_patches(theirs):
    number = len(theirs.body.blocks)
    tokens = theirs.body.forward_intermediates(IMAGES, norm=False, intermediates_only=True)[-1]
    assert torch.allclose(at(theirs, f"stage{number}"), tokens.mean((2, 3)), atol=1e-6)
    assert torch.equal(at(theirs, f"stage{number}"), at(theirs, f"blocks.{number - 1}"))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("stage3", r"stage1 to stage2, or one of .*; the nearest are stage2, stage1"),
        ("stage0", "stage1 to stage2"),
        ("", "give last, pooled"),
        ("backbone.layer.1", "the nearest are .*backbone.layers.1"),
    ],
)
def test_a_wrong_layer_is_refused_with_the_nearest(house, layer, told):
    with pytest.raises(UserError, match=told):
        LayerFeatures(house, layer, SHAPE)


def test_what_gives_windows_and_no_images_is_refused():
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=32)
    with pytest.raises(UserError, match="such as the block around it"):
        LayerFeatures(TimmNetwork(theirs.eval()), "layers.0.blocks.0.attn", SHAPE)
