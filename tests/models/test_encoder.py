import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import ENCODERS, build_encoder, pooled_stages
from ssl_swin.models.simmim import SimMIM
from tests.toys.toy_encoder import ToyEncoder

SIZES = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
VIT_SIZES = {"patch_size": 8, "embed_dim": 16, "depths": (2,), "num_heads": (2,)} | {
    "position": "both"
}


def test_sizes_that_are_none_are_those_of_the_name():
    name = "swin_tiny_patch4_window7_224"
    encoder = build_encoder(name, 56, 1, window_size=None, patch_size=None, **SIZES)
    assert (encoder.img_size, encoder.in_chans) == ((56, 56), 1)
    assert (encoder.patch_size, encoder.architecture()["window_size"]) == (4, 7)


def test_the_tag_behind_timms_name_does_not_matter():
    encoder = build_encoder("swin_tiny_patch4_window7_224.ms_in1k", 56, 3, **SIZES)
    again = build_encoder(**encoder.architecture())
    assert again.architecture() == encoder.architecture()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("swin_huge_patch4", "nearest: vit_huge_patch14_224, swin_.*; all: python -c"),
        ("swin_tiny", "swin_tiny_patch4_window7_224"),
        ("resnet50", r"model\.name='resnet50' is not known"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(name, told):
    with pytest.raises(ValueError, match=told):
        build_encoder(name, 64, 3)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("swin_tiny_patch4_window7_224", "a Swin has no depth; it takes only patch_size, window"),
        ("toy", "the encoder toy got an unexpected keyword argument 'depth'; leave it out"),
    ],
)
def test_a_size_that_the_encoder_does_not_have_is_refused(name, told, monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
    with pytest.raises(UserError, match=told):
        build_encoder(name, 64, 3, depth=3)


def test_every_swin_of_timm_is_known():
    assert {"swin_large_patch4_window12_384", "swinv2_large_window12_192"} <= ENCODERS.keys()


@pytest.fixture(
    params=[
        *("toy", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "vit_tiny_patch16_224")
    ]
)
def encoder(request, monkeypatch):
    """An encoder of each kind, the toy among them."""
    monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
    torch.manual_seed(0)
    sizes = {"toy": {}, "vit_tiny_patch16_224": VIT_SIZES}.get(request.param, SIZES)
    return build_encoder(request.param, 32, 3, **sizes)


def test_every_encoder_gives_the_shapes_it_tells(encoder):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features, stages = encoder.eval()(images), encoder.stages(images)
    assert features.shape == (2, encoder.num_features, 32 // encoder.stride, 32 // encoder.stride)
    assert stages[-1].shape == features.shape
    sides = [stage.shape[2] for stage in stages]
    assert sides == sorted(sides, reverse=True)


def test_every_encoder_gives_the_means_of_its_stages_and_of_its_output(encoder):
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        means = pooled_stages(encoder.eval(), images)
        maps = [*encoder.stages(images), encoder(images)]
    assert [*means] == [*(f"stage{n}" for n in range(1, len(maps))), "last"]
    for mean, one in zip(means.values(), maps, strict=True):
        torch.testing.assert_close(mean, one.mean((2, 3)))


def test_no_encoder_sees_what_is_hidden(encoder):
    images, side = torch.randn(2, 3, 32, 32), 32 // encoder.patch_size
    hidden = torch.ones(2, side, side).bool()
    hidden[:, 0] = False
    changed = images.clone()
    changed[:, :, encoder.patch_size :] = 9.0
    with torch.no_grad():
        assert torch.equal(encoder.eval()(images, hidden), encoder(changed, hidden))


def test_every_parameter_has_a_layer_and_what_is_named_is_there(encoder):
    names = {name for name, _ in encoder.named_parameters()}
    assert {encoder.layer_of(name) for name in names} == set(range(encoder.num_layers + 2))
    assert encoder.mask_parameters() | encoder.no_decay() <= names
    assert encoder.position_tables().keys() <= names


def test_whole_images_use_all_but_the_mask_parameters(encoder):
    Classifier(encoder, 5)(torch.randn(2, 3, 32, 32)).logsumexp(1).sum().backward()
    unused = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert unused == encoder.mask_parameters()


def test_hidden_patches_teach_every_parameter(encoder):
    model = SimMIM(encoder, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    images, mask = torch.randn(2, 3, 32, 32), torch.eye(4).bool().expand(2, 4, 4)
    loss = model(images, mask)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert model(images, mask) < loss


def test_every_architecture_rebuilds_its_encoder(encoder):
    again = build_encoder(**encoder.architecture())
    again.load_state_dict(encoder.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), encoder.eval()(images))
