import pytest
import timm
import torch

from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.swin_backbone import Swin, SwinShape
from ssl_swin.models.swin_block import Switches
from ssl_swin.pretrained.timm import from_timm, to_timm

NAMES = timm.list_models("swin_*")
# image size in pixels and window in tokens: divided; not square; padded, and shifted so
SIZES = [(192, 6), ((128, 224), 8), (160, 7)]


def narrow(name):
    """Real depths and windows in 32 channels, which heads of 8 or 4 divide."""
    depths = timm.create_model(name, num_classes=0, embed_dim=32, num_heads=(1, 2, 4, 8)).layers
    return {
        "embed_dim": 32,
        "num_heads": (1, 2, 4, 8),
        "depths": tuple(len(stage.blocks) for stage in depths),
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_every_name_are_timms_both_ways(name):
    with torch.device("meta"):
        img_size = timm.get_pretrained_cfg(name).input_size[1]
        theirs = timm.create_model(name, num_classes=0)
        ours = SwinEncoder(name, img_size)
    ours.load_state_dict(
        from_timm(theirs.state_dict()) | {"mask_token": ours.mask_token}, strict=True, assign=True
    )
    theirs.load_state_dict(to_timm(ours.state_dict()), strict=True, assign=True)
    assert list(to_timm(ours.state_dict())) == list(theirs.state_dict())
    shapes = [tuple(one.shape) for one in theirs.state_dict().values()]
    assert [tuple(one.shape) for one in to_timm(ours.state_dict()).values()] == shapes


@pytest.mark.parametrize(("img_size", "window_size"), SIZES)
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224"])
def test_features_and_gradients_are_timms(name, img_size, window_size):
    sizes = narrow(name) | {"window_size": window_size, "img_size": img_size}
    torch.manual_seed(0)
    ours = SwinEncoder(name, **sizes)
    torch.manual_seed(0)
    theirs = SwinEncoder(name, **sizes, implementation="timm")
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    with torch.no_grad():  # as if trained: biases that matter
        for name in ours.position_tables():
            ours.get_parameter(name).normal_()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *ours.img_size)
    token_mask = torch.rand(2, *(side // 4 for side in ours.img_size)) < 0.6
    found = []
    for encoder in (ours, theirs):
        features = encoder(images, token_mask)
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
        (features * weights).mean().backward()
        found.append((features.detach(), {n: p.grad for n, p in encoder.named_parameters()}))
    (features, grads), (expected, expected_grads) = found
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    for name, grad in expected_grads.items():
        assert (grads[name] - grad).norm() < 1e-4 * grad.norm() + 1e-9, name


def test_a_published_window_of_12_and_per_stage_windows_are_timms():
    for name, window in (("swin_base_patch4_window12_384", 12), ("swin_s3_tiny_224", None)):
        sizes = narrow(name) | {"window_size": window, "img_size": 192 if window else 224}
        ours = SwinEncoder(name, **sizes)
        theirs = SwinEncoder(name, **sizes, implementation="timm")
        theirs.load_state_dict(ours.state_dict())
        images = torch.randn(1, 3, *ours.img_size)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)


def shape(**change):
    given = {
        "img_size": (32, 48),
        "in_chans": 3,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "windows": ((4, 4), (4, 4)),
        "drop_path_rate": 0.0,
    }
    return SwinShape(**(given | change))


def test_stages_lie_at_strides_of_4_and_8_and_double_the_channels():
    maps = Swin(shape()).maps(torch.randn(2, 3, 32, 48))
    assert [one.shape for one in maps] == [(2, 8, 12, 8), (2, 4, 6, 16)]


def test_maps_lie_row_by_row_whatever_the_order_within():
    """A patch moves the place of every map that lies over it, and in the first only near it."""
    swin = Swin(shape(depths=(1, 1)))
    images = torch.randn(1, 3, 32, 48, requires_grad=True)
    fine, coarse = swin.maps(images)
    (grad,) = torch.autograd.grad(fine[0, 7, 11].sum(), images, retain_graph=True)
    touched = (grad[0].abs().sum(0) > 0).nonzero()
    assert touched.min(0).values.tolist() == [16, 32]
    assert touched.max(0).values.tolist() == [31, 47]
    (grad,) = torch.autograd.grad(coarse[0, 0, 0].sum(), images)
    assert (grad[0].abs().sum(0) > 0)[:, :32].any()


def test_a_stage_starts_with_what_timm_makes_of_the_map_before():
    """With windows that differ, so that tokens are moved between the stages."""
    sizes = {"img_size": (64, 96), "embed_dim": 8, "depths": (2, 2, 1), "num_heads": (1, 2, 2)}
    name, sizes = "swin_tiny_patch4_window7_224", sizes | {"window_size": (4, 2, 3)}
    ours, theirs = SwinEncoder(name, **sizes), SwinEncoder(name, **sizes, implementation="timm")
    theirs.load_state_dict(ours.state_dict())
    images, hides = torch.randn(2, 3, 64, 96), torch.rand(2, 16, 24) < 0.5
    starts, ends = ours.starts_and_stages(images, hides)
    assert [one.shape for one in starts] == [one.shape for one in ends]
    assert all(map(torch.equal, ends, ours.stages(images, hides)))
    tokens = starts[0].permute(0, 2, 3, 1)[hides]
    assert torch.equal(tokens, ours.mask_token[0].expand_as(tokens))
    for stage in (1, 2):
        before = ends[stage - 1].permute(0, 2, 3, 1)
        wanted = theirs.backbone.layers[stage].downsample(before).permute(0, 3, 1, 2)
        torch.testing.assert_close(starts[stage], wanted, rtol=0, atol=1e-5)


def test_absolute_positions_are_added_row_by_row():
    plain, placed = Swin(shape()), Swin(shape(), absolute_positions=True)
    assert placed.absolute_pos_embed.shape == (1, 96, 8)
    state = plain.state_dict() | {"absolute_pos_embed": torch.zeros(1, 96, 8)}
    placed.load_state_dict(state)
    images = torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(placed(images), plain(images))
    with torch.no_grad():
        placed.absolute_pos_embed[0, 95] = 9.0
        (
            placed.layers[0].blocks[0].norm1.weight.zero_(),
            placed.layers[0].blocks[1].norm1.weight.zero_(),
        )
        moved = (placed.maps(images)[0] - plain.maps(images)[0])[0].abs().amax(2) > 4
    assert moved.nonzero().tolist() == [[7, 11]]


@pytest.mark.parametrize(
    ("switches", "names"),
    [
        (Switches(relative_bias=False), set()),
        (Switches(mixes_by_mlp=True, shift="padded"), {"spatial_mlp"}),
        (Switches(), {"relative_position_bias_table", "qkv", "proj"}),
    ],
)
def test_switches_leave_out_what_they_say(switches, names):
    swin = Swin(shape(), switches)
    found = {name.split(".")[5] for name, _ in swin.named_parameters() if ".attn." in name}
    assert names <= found
    assert ("relative_position_bias_table" in found) == ("relative_position_bias_table" in names)
    swin(torch.randn(2, 3, 32, 48)).square().sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in swin.parameters())
