import pytest
import timm
import torch

from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.swin_v2 import SwinV2Encoder

ALL = timm.list_models("swinv2_*", exclude_filters="swinv2_cr_*")
FEW = ("swinv2_tiny_window8_256", "swinv2_base_window12to16_192to256")
NAMES = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in ALL]
TINY = {
    "name": "swinv2_tiny_window8_256",
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
}
FOUR = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


def tiny(**change):
    return SwinV2Encoder(**(TINY | change))


def trained(encoder, spread=0.3):
    """The encoder with weights as if trained: norms, scales and biases that matter."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    return encoder.eval()


def timms(encoder):
    theirs = SwinV2Encoder(**encoder.architecture(), implementation="timm")
    theirs.load_state_dict(encoder.state_dict())
    return theirs.eval().backbone


CHANGES = [
    {},
    {"img_size": 256, "window_size": 8, **FOUR},
    {"img_size": 192, "window_size": 12, **FOUR},
    {"window_size": 7},  # padded, and shifted so
    {"img_size": (64, 96), "window_size": 5},
    {"window_size": (4, 8)},
    {"img_size": (80, 128), "window_size": ((5, 8), (5, 4))},
    {"in_chans": 5},
    {"pretrained_window_sizes": 12},
    {"window_size": 8, "pretrained_window_sizes": (4, 0)},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_with_nothing_hidden_the_encoder_is_timms(change):
    encoder = trained(tiny(**change))
    images = torch.randn(2, encoder.in_chans, *encoder.img_size)
    nothing = torch.zeros(2, *(side // 4 for side in encoder.img_size)).bool()
    with torch.no_grad():
        theirs = timms(encoder)
        expected = theirs.forward_features(images).permute(0, 3, 1, 2)
        torch.testing.assert_close(encoder(images), expected, rtol=0, atol=1e-5)
        assert torch.equal(encoder(images, nothing), encoder(images))
        stages = theirs.forward_intermediates(images, intermediates_only=True)
        for one, other in zip(encoder.stages(images), stages, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [{}, {"window_size": 7}, {"img_size": (64, 96)}], ids=str)
def test_weights_begin_and_gradients_are_as_timms(change):
    torch.manual_seed(0)
    ours = tiny(**change)
    torch.manual_seed(0)
    theirs = tiny(**change, implementation="timm")
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(one, theirs.state_dict()[k]) for k, one in ours.state_dict().items())
    theirs.load_state_dict(trained(ours).state_dict())
    images, grads = torch.randn(2, 3, *ours.img_size), []
    token_mask = torch.rand(2, *(side // 4 for side in ours.img_size)) < 0.6
    for encoder in (ours, theirs):
        features = encoder(images, token_mask)
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
        (features * weights).mean().backward()
        grads.append({name: one.grad for name, one in encoder.named_parameters()})
    for name, grad in grads[1].items():
        assert (grads[0][name] - grad).norm() < 1e-4 * grad.norm() + 1e-7, name


def test_at_first_every_block_hands_on_what_it_is_given():
    encoder = tiny().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        tokens = encoder.backbone.patch_embed(images)
        assert torch.equal(encoder.backbone.layers[0].blocks[0](tokens), tokens)
    block = encoder.backbone.layers[1].blocks[0]
    assert torch.allclose(block.attn.logit_scale, torch.tensor(10.0).log())
    assert not block.attn.q_bias.any()
    assert encoder.backbone.layers[1].downsample.norm.weight.eq(1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_every_name_are_timms(name):
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0)
        ours = build_encoder(name, theirs.patch_embed.img_size, 3)
    shapes = {key: one.shape for key, one in theirs.state_dict().items()}
    assert {key: one.shape for key, one in ours.backbone.state_dict().items()} == shapes
    windows = [stage.blocks[0].window_size[0] for stage in theirs.layers]
    scale = [12, 12, 12, 6] if "to" in name else windows  # as in 12to16_192to256
    assert ours.architecture()["pretrained_window_sizes"] == scale


def test_another_window_keeps_the_scale_of_its_coordinates():
    """As the official fine-tuning: 12 at 192 pixels, then 14 at 224, scaled by 12, 12, 12, 6."""
    before = tiny(img_size=192, window_size=12, **FOUR)
    sizes = before.architecture()
    assert sizes["pretrained_window_sizes"] == [12, 12, 12, 6]
    after = SwinV2Encoder(**(sizes | {"img_size": 224, "window_size": 14}))
    after.load_state_dict(before.state_dict())
    assert after.architecture()["pretrained_window_sizes"] == [12, 12, 12, 6]
    found = [stage.blocks[1].window_size for stage in after.backbone.layers]
    assert found == [(14, 14), (14, 14), (14, 14), (7, 7)]
    assert after.position_tables() == {}


def test_features_change_little_with_the_window():
    torch.manual_seed(0)
    before = trained(tiny(img_size=192, window_size=6, **FOUR), spread=0.1)
    images = torch.randn(2, 3, 192, 192)
    sizes = before.architecture()
    for change in ({"window_size": 12}, {"window_size": (6, 12, 6, 6)}):
        after = SwinV2Encoder(**(sizes | change)).eval()
        after.load_state_dict(before.state_dict())
        with torch.no_grad():
            pair = [one(images).mean((2, 3)) for one in (before, after)]
        assert torch.cosine_similarity(*pair).min() > 0.95


@pytest.mark.parametrize("shift", ["cyclic", "padded", "none"])
def test_switches_of_shift_and_padding_are_as_in_version_1(shift):
    plain, images = trained(tiny()), torch.randn(1, 3, 64, 64)
    other = tiny(shift=shift, padding="masked").eval()
    other.load_state_dict(plain.state_dict())
    assert other.architecture() == plain.architecture() | {"padding": "masked"} | (
        {} if shift == "cyclic" else {"shift": shift}
    )
    with torch.no_grad():  # nothing is padded here, and a score of -100 counts nothing
        same = torch.allclose(other(images), plain(images), atol=1e-4)
    assert same == (shift != "none")


@pytest.mark.parametrize("position", ["absolute", "none", "both"])
def test_positions_can_be_left_out_or_embedded(position):
    encoder = tiny(position=position)
    names = {name for name, _ in encoder.named_parameters()}
    assert any("cpb_mlp" in name for name in names) == (position == "both")
    assert ("backbone.absolute_pos_embed" in names) == (position != "none")
    assert encoder.no_decay() <= names
    encoder(torch.randn(1, 3, 64, 64)).sum().backward()


def test_what_makes_scores_does_not_decay():
    encoder = tiny()
    parts = ("cpb_mlp.0.weight", "cpb_mlp.0.bias", "cpb_mlp.2.weight", "logit_scale")
    block = "backbone.layers.1.blocks.1.attn"
    assert encoder.score_parameters() >= {f"{block}.{part}" for part in parts}
    assert len(encoder.score_parameters()) == 4 * 4
    assert encoder.no_decay() == encoder.score_parameters() | {"mask_token"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mixer": "mlp"}, r"mixer=mlp is of Swin \(version 1\) alone"),
        ({"pretrained_window_sizes": -1}, "must be at least 0"),
        ({"pretrained_window_sizes": (4, 4, 4)}, "pretrained_window_sizes has 3"),
        ({"pretrained_window_sizes": ((4, 4), (4,))}, "pretrained_window_sizes=.* a window of 1"),
        ({"window_size": 0}, "window_size=0 must be at least 1"),
        ({"img_size": 60}, "not a multiple of 8"),
        ({"size": 3}, "a Swin V2 has no size; it takes only .*pretrained_window_sizes"),
    ],
)
def test_what_cannot_be_built_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        tiny(**change)
