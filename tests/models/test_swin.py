import pytest
import timm
import torch

from ssl_swin.models.swin import SwinEncoder

TINY = {
    "name": "swin_tiny_patch4_window7_224",
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
}


def tiny(**change):
    return SwinEncoder(**(TINY | change))


def timms(encoder):
    """Return timm's own model, with a copy of the weights."""
    theirs = SwinEncoder(**encoder.architecture(), implementation="timm")
    theirs.load_state_dict(encoder.state_dict())
    return theirs.eval().backbone


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"window_size": 7},
        {"window_size": (4, 8)},
        {"img_size": (64, 96)},
        {"in_chans": 5},
        {"patch_size": 2},
        {"depths": (2, 2, 2), "num_heads": (1, 2, 4)},
    ],
)
def test_with_nothing_hidden_the_encoder_is_timms(change):
    encoder = tiny(**change)
    images = torch.randn(2, encoder.in_chans, *encoder.img_size)
    nothing = torch.zeros(2, *(side // encoder.patch_size for side in encoder.img_size)).bool()
    with torch.no_grad():
        theirs = timms(encoder).forward_features(images).permute(0, 3, 1, 2)
        torch.testing.assert_close(encoder(images), theirs, rtol=0, atol=1e-5)
        assert torch.equal(encoder(images, nothing), encoder(images))
    out = tuple(side // encoder.stride for side in encoder.img_size)
    assert theirs.shape == (2, encoder.num_features, *out)


def test_the_encoder_does_not_see_what_is_hidden():
    encoder = tiny().eval()
    images = torch.randn(2, 3, 64, 64)
    hidden = torch.rand(2, 16, 16) < 0.5
    pixels = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
    changed = torch.where(pixels, torch.full_like(images, 9.0), images)
    with torch.no_grad():
        assert torch.equal(encoder(images, hidden), encoder(changed, hidden))
        assert not torch.equal(encoder(images), encoder(changed))


def test_the_mask_token_learns_only_where_something_is_hidden():
    encoder = tiny()
    images = torch.randn(1, 3, 64, 64)
    encoder(images, torch.ones(1, 16, 16).bool()).square().sum().backward()
    assert encoder.mask_token.grad.abs().sum() > 0
    assert encoder.backbone.patch_embed.proj.weight.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("img_size", "window_size", "windows", "shifts"),
    [
        (192, 6, [6, 6, 6, 6], [3, 3, 3, 0]),
        (192, 12, [12, 12, 12, 6], [6, 6, 0, 0]),
        (224, 14, [14, 14, 14, 7], [7, 7, 0, 0]),
        (224, 7, [7, 7, 7, 7], [3, 3, 3, 0]),
    ],
)
def test_windows_shrink_and_shifts_vanish_by_the_official_rule(
    img_size, window_size, windows, shifts
):
    encoder = tiny(
        img_size=img_size,
        window_size=window_size,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
    )
    stages = [stage.blocks for stage in encoder.backbone.layers]
    assert [blocks[1].window_size for blocks in stages] == [(w, w) for w in windows]
    assert [blocks[0].shift_size for blocks in stages] == [(0, 0)] * 4
    assert [blocks[1].shift_size for blocks in stages] == [(s, s) for s in shifts]
    assert encoder.window_size == window_size


def test_weights_start_as_in_the_official_code():
    torch.manual_seed(0)
    encoders = [tiny(embed_dim=64) for _ in range(8)]
    tokens = torch.cat([encoder.mask_token for encoder in encoders])  # of one, 64 numbers spread
    assert tokens.std().item() == pytest.approx(0.02, rel=0.15)
    encoder = encoders[0]
    conv = encoder.backbone.patch_embed.proj
    bound = (3 * 4 * 4) ** -0.5  # PyTorch's default: uniform within it
    assert conv.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    for name, parameter in encoder.backbone.named_parameters():
        if name.startswith("patch_embed.proj"):
            continue
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            assert (parameter == (1 if name.endswith("weight") else 0)).all(), name


@pytest.mark.parametrize(
    "name",
    ["swin_tiny_patch4_window7_224", "swin_s3_tiny_224", "swin_tiny_patch4_window7_224.ms_in1k"],
)
def test_what_is_not_given_is_timms(name):
    encoder = SwinEncoder(name, img_size=224)
    theirs = timm.create_model(name, num_classes=0)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {k: v.shape for k, v in encoder.backbone.state_dict().items()} == shapes
    assert encoder.window_size == ((7, 7, 14, 7) if "s3" in name else 7)


@pytest.mark.parametrize("change", [{}, {"img_size": (64, 96)}, {"window_size": (4, 8)}])
def test_the_architecture_rebuilds_the_encoder(change):
    encoder = tiny(**change)
    rebuilt = SwinEncoder(**encoder.architecture())
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.architecture() == encoder.architecture()
    images = torch.randn(1, 3, *encoder.img_size)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(images), encoder.eval()(images))


def test_drop_path_grows_with_depth_and_does_not_touch_the_architecture():
    encoder = tiny(drop_path_rate=0.3)
    rates = [
        getattr(block.drop_path1, "drop_prob", 0.0)
        for stage in encoder.backbone.layers
        for block in stage.blocks
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert encoder.architecture() == tiny().architecture()


@pytest.mark.parametrize("change", [{}, {"img_size": (64, 96)}, {"window_size": (4, 8, 4)}])
def test_the_stages_are_timms_and_the_output_is_the_norm_of_the_last(change):
    encoder = tiny(depths=(2, 2, 2), num_heads=(1, 2, 4), **change).eval()
    images = torch.randn(2, 3, *encoder.img_size)
    with torch.no_grad():
        stages = encoder.stages(images)
        theirs = timms(encoder).forward_intermediates(images, intermediates_only=True)
        for one, other in zip(stages, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder.finish(stages[-1]), encoder(images), rtol=0, atol=1e-6)
    rows = encoder.img_size[0]
    assert [stage.shape[1:3] for stage in stages] == [
        (16, rows // 4),
        (32, rows // 8),
        (64, rows // 16),
    ]


def test_no_stage_sees_what_is_hidden():
    encoder = tiny().eval()
    images, everything = torch.randn(2, 3, 64, 64), torch.ones(2, 16, 16).bool()
    with torch.no_grad():
        for stage in encoder.stages(images, everything):
            torch.testing.assert_close(stage[0], stage[1])


@pytest.mark.parametrize("depths", [(2, 2), (2, 4, 2), (2, 2, 6, 2)])
def test_layers_are_counted_from_the_image(depths):
    encoder = tiny(depths=depths, num_heads=tuple(2**stage for stage in range(len(depths))))
    layers = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert encoder.num_layers == sum(depths)
    assert set(layers.values()) == set(range(sum(depths) + 2))
    assert layers["mask_token"] == layers["backbone.patch_embed.norm.weight"] == 0
    assert layers["backbone.norm.weight"] == sum(depths) + 1
    for stage in range(1, len(depths)):
        before = f"backbone.layers.{stage - 1}.blocks.{depths[stage - 1] - 1}.norm1.weight"
        downsample = f"backbone.layers.{stage}.downsample.reduction.weight"
        after = f"backbone.layers.{stage}.blocks.0.norm1.weight"
        assert layers[downsample] == layers[before] == layers[after] - 1


def test_a_parameter_of_another_network_has_no_layer():
    with pytest.raises(ValueError, match=r"'head\.weight' belongs to no known layer"):
        tiny().layer_of("head.weight")


def test_position_tables_are_those_of_all_blocks_with_the_windows_they_are_for():
    encoder = tiny(img_size=(32, 64))
    state, tables = encoder.state_dict(), encoder.position_tables()
    assert set(tables) == {name for name in state if "relative_position_bias" in name}
    for name, (rows, cols) in tables.items():
        assert state[name].shape[0] == (2 * rows - 1) * (2 * cols - 1)
    assert encoder.no_decay() == {"mask_token", *tables}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"img_size": 60}, "not a multiple of 8 pixels"),
        ({"img_size": 4}, "not a multiple of 8 pixels"),
        ({"num_heads": (2, 2, 2)}, "depths has 2, num_heads has 3"),
        ({"window_size": (4, 4, 4)}, "window_size has 3"),
        ({"num_heads": (3, 4)}, "num_heads=3 does not divide the 16 channels"),
        ({"window_size": 0}, "window_size=0"),
        ({"depths": (2, 0)}, "at least 1 each"),
        ({"depths": None, "num_heads": None, "window_size": (4, 2, 4)}, "another number"),
        ({"window_size": ((4, 4), (4, 4, 4))}, "has a window of 3 sides; give 2, or 1"),
        ({"window_size": ((4, 4), (4, 0))}, "window_size="),
        ({"depths": None}, "another number of stages than num_heads="),
    ],
)
def test_what_cannot_be_built_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        tiny(**change)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 64, 64)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match="this encoder takes"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize("window", [(5, 8), ((5, 8),) * 4, ((5, 8), (5, 8), (5, 4), 3)])
def test_windows_of_two_sides_are_timms(window):
    sizes = {"img_size": (160, 256), "window_size": window, "embed_dim": 16}
    sizes |= {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
    ours = SwinEncoder(**(TINY | sizes)).eval()
    theirs = SwinEncoder(**(TINY | sizes), implementation="timm").eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 160, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    again = SwinEncoder(**ours.architecture())
    assert again.position_tables() == ours.position_tables()
    assert {*ours.position_tables().values()} >= {(5, 8)}
