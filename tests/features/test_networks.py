import pytest
import timm
import torch
from torch import nn

from ssl_swin.errors import UserError
from ssl_swin.features.networks import (
    HouseNetwork,
    TimmNetwork,
    as_map,
    mean_of_positions,
    outputs_of,
)
from ssl_swin.models.swin import SwinEncoder
from tests.features.conftest import SIZES

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_an_encoder_of_the_house_gives_the_mean_of_its_maps():
    torch.manual_seed(0)
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=3, **SIZES).eval()
    network = HouseNetwork(encoder)
    with torch.no_grad():
        assert torch.equal(network(IMAGES), encoder(IMAGES).mean((2, 3)))
        assert torch.equal(network.pooled(IMAGES), network(IMAGES))
        assert [one.shape for one in network.stages(IMAGES)] == [(3, 8), (3, 16)]


def test_a_vit_leaves_out_its_class_token_and_pools_as_it_does_itself():
    model = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    network = TimmNetwork(model)
    with torch.no_grad():
        tokens = model.forward_features(IMAGES)
        assert torch.allclose(network(IMAGES), tokens[:, 1:].mean(1))
        assert torch.allclose(network.pooled(IMAGES), tokens[:, 0])
        assert len(network.stages(IMAGES)) == len(model.blocks)


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_models_of_timm_that_pool_by_the_mean_give_what_timm_gives(name):
    size = {"img_size": 32, "window_size": 4} if "swin" in name else {}
    torch.manual_seed(0)
    network = TimmNetwork(timm.create_model(name, num_classes=0, **size).eval())
    with torch.no_grad():
        last, pooled, stages = network(IMAGES), network.pooled(IMAGES), network.stages(IMAGES)
    assert last.shape == pooled.shape
    if "convnext" not in name:  # its last norm comes after the mean
        assert torch.allclose(last, pooled, atol=1e-5)
    assert len(stages) >= 4


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3, 5), ()), ((3, 4, 4, 7), (1, 2)), ((3, 7, 4, 4), (2, 3)), ((3, 9, 7), (1,))],
)
def test_positions_are_the_axes_that_are_no_channels(shape, axes):
    output = torch.randn(shape)
    expected = output.mean(axes) if axes else output
    assert torch.equal(mean_of_positions(output, 3, 0, "it"), expected)


@pytest.mark.parametrize(
    "output",
    [torch.zeros(6, 4), torch.zeros(3, 4, 4, 4), torch.zeros(3, 4, 5, 6), torch.zeros(3), (1, 2)],
)
def test_what_is_neither_tokens_nor_a_map_is_refused(output):
    with pytest.raises(UserError, match=r"layer=x gives .* give another"):
        mean_of_positions(output, 3, 0, "layer=x")


@pytest.mark.parametrize("name", ["test_vit", "resnet10t", "swin_tiny_patch4_window7_224"])
def test_maps_are_the_positions_whose_mean_is_given(name):
    size = {"img_size": 64} if name != "resnet10t" else {}
    network = TimmNetwork(timm.create_model(name, num_classes=0, **size).eval())
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        maps = network.maps(images)
        assert maps.ndim == 4
        assert torch.allclose(maps.mean((2, 3)), network(images), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 4, 4), (3, 5), (3, 6, 7), (2, 5, 5, 7), (3, 1, 7)])
def test_what_is_no_square_map_is_none(shape):
    with pytest.raises(UserError, match="which is no square map"):
        as_map(torch.zeros(shape), 3, 1, "it")


def test_tokens_become_rows_of_a_map_and_channels_come_first():
    tokens = torch.arange(3 * 5 * 2.0).view(3, 5, 2)
    assert torch.equal(as_map(tokens, 3, 1, "it")[0, 0], tokens[0, 1:, 0].view(2, 2))
    assert as_map(torch.zeros(3, 4, 4, 7), 3, 0, "it").shape == (3, 7, 4, 4)


def test_a_module_that_is_not_used_is_named():
    body = nn.Sequential(nn.Linear(2, 2))
    body[0].unused = nn.Identity()
    with pytest.raises(UserError, match=r"layer=0.unused is not used"):
        outputs_of(body, ["0", "0.unused"], torch.zeros(1, 2))
    assert not body[0]._forward_hooks


def test_a_stage_of_timms_swin_starts_with_what_its_merging_makes():
    torch.manual_seed(0)
    sizes = {"img_size": 64, "window_size": 2, "embed_dim": 8}
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **sizes).eval()
    network, images, seen = TimmNetwork(model), torch.randn(3, 3, 64, 64), {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _given, output, key=key: seen.update({key: output})
        )
        for key, module in (("start", model.layers[3].downsample), ("end", model.layers[3]))
    ]
    with torch.no_grad():
        model(images)
        for hook in hooks:
            hook.remove()
        for at, found in seen.items():
            assert torch.equal(network.stage_map(images, 4, at), found.permute(0, 3, 1, 2))
        assert network.stage_map(images, 3, "end").shape == (3, 32, 4, 4)
        normed = model.norm(network.stage_map(images, 4, "end").permute(0, 2, 3, 1))
        assert torch.equal(network.maps(images), normed.permute(0, 3, 1, 2))


def test_a_stage_of_a_swin_of_the_house_is_that_of_timm():
    torch.manual_seed(0)
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=3, **SIZES).eval()
    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=0,
        **SIZES,
    ).eval()
    model.load_state_dict(encoder.backbone.state_dict())
    with torch.no_grad():
        for at in ("start", "end"):
            ours = HouseNetwork(encoder).stage_map(IMAGES, 2, at)
            theirs = TimmNetwork(model).stage_map(IMAGES, 2, at)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stage", "at", "told"),
    [
        ("test_vit", 99, "end", "stage 99 of a network that has .*; give 1 to"),
        ("test_vit", 2, "start", "stage 2 of this network gives no map from before its blocks"),
        ("resnet10t", 2, "start", "stage 2 of this network gives no map"),
        ("swin_tiny_patch4_window7_224", 1, "start", "stage 1 of this network gives no map"),
    ],
)
def test_a_stage_that_is_not_there_is_refused(name, stage, at, told):
    size = {} if name == "resnet10t" else {"img_size": 64}
    network = TimmNetwork(timm.create_model(name, num_classes=0, **size).eval())
    with pytest.raises(UserError, match=told):
        network.stage_map(torch.zeros(1, 3, 64, 64), stage, at)


@pytest.mark.parametrize(
    ("name", "is_normed"), [("vit_tiny_patch16_224", True), ("beit_base_patch16_224", False)]
)
def test_a_map_comes_after_the_last_norm_of_each_position_if_there_is_one(name, is_normed):
    """A BEiT norms the mean over its positions instead, and its map is that of its last block."""
    sizes = {"img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2}
    network = TimmNetwork(timm.create_model(name, num_classes=0, **sizes).eval())
    with torch.no_grad():
        last = network.stage_map(IMAGES, 1, "end").flatten(2).transpose(1, 2)
        maps = network.maps(IMAGES).flatten(2).transpose(1, 2)
        wanted = network.body.norm(last) if is_normed else last
    assert torch.allclose(maps, wanted, atol=1e-5)
    assert isinstance(network.body.norm, nn.Identity) != is_normed
