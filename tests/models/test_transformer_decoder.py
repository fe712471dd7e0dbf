import math

import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.blocks import fuse_attention
from ssl_swin.models.decoder import DecoderShape
from ssl_swin.models.transformer_decoder import TransformerDecoder, sin_cos

SHAPE = DecoderShape(num_features=5, upscale=4, num_chans=3, norms=False, grid=(3, 2))


def decoder(shape=SHAPE, **options):
    torch.manual_seed(0)
    return TransformerDecoder(shape, **{"dim": 16, "depth": 2, "num_heads": 2, **options}).double()


@pytest.fixture
def features():
    return torch.randn(2, 5, 3, 2, dtype=torch.float64)


def test_numbers_of_a_position_lie_as_those_of_a_linear_decoder(features):
    """With blocks that add nothing, only what lies below a position comes of it."""
    model = decoder()
    for block in model.blocks:
        for last in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(last.weight)
    rebuilt = model(features)
    assert rebuilt.shape == (2, 3, 12, 8)
    changed = features.clone()
    changed[:, :, 1, 1] += torch.randn(5)
    rows, cols = (model(changed) != rebuilt).any(dim=(0, 1)).nonzero().unbind(1)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 7, 4, 7)


def test_every_position_sees_all_others_whose_places_it_knows_if_told(features):
    swapped = features.flatten(2).flip(2).unflatten(2, (3, 2))
    for positions, same in (("none", True), ("sin-cos", False)):
        model = decoder(positions=positions, depth=1)
        tokens = torch.nn.functional.pixel_unshuffle(model(features), 4).flatten(2)
        others = torch.nn.functional.pixel_unshuffle(model(swapped), 4).flatten(2)
        assert torch.allclose(tokens, others.flip(2)) == same
    changed = features.clone()
    changed[:, :, 2, 1] += torch.randn(5)
    assert (model(changed) != model(features)).all()


def test_waves_are_of_rows_then_of_columns():
    waves = sin_cos((3, 5), 8).double()
    row, col, slow = 2, 4, 1 / 100
    wanted = [math.sin(row), math.sin(row * slow), math.cos(row), math.cos(row * slow)]
    wanted += [math.sin(col), math.sin(col * slow), math.cos(col), math.cos(col * slow)]
    torch.testing.assert_close(
        waves[row * 5 + col], torch.tensor(wanted).double(), atol=1e-6, rtol=0
    )
    assert "positions" not in decoder(positions="sin-cos").state_dict()


def test_a_map_without_a_norm_gets_one(features):
    plain, normed = decoder(), decoder(SHAPE._replace(norms=True))
    torch.testing.assert_close(normed(features), normed(features * 100), rtol=1e-3, atol=1e-3)
    assert {*normed.state_dict()} - {*plain.state_dict()} == {
        "norm_before.weight",
        "norm_before.bias",
    }


def test_fused_attention_is_attention_within_rounding(features):
    model = decoder(positions="sin-cos")
    steps = model(features)
    assert fuse_attention(model, on=True) == 2
    torch.testing.assert_close(model(features), steps)


def test_linear_layers_start_small_and_biases_at_0():
    weights = dict(decoder(dim=64).named_parameters())
    assert all(not one.any() for name, one in weights.items() if name.endswith("bias"))
    for name in ("embed", "predict", "blocks.1.attn.qkv", "blocks.0.mlp.fc1"):
        assert 0.015 < weights[f"{name}.weight"].std() < 0.025


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dim": 16, "num_heads": 3}, "decoder.num_heads=3 does not divide the 16 channels"),
        ({"dim": 6, "positions": "sin-cos"}, "6 channels are no multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        decoder(**options)
