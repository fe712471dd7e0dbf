"""Files as mmpretrain names things; the library itself is not installed.

By hand, with mmpretrain 1.2.0, features of a small Swin were equal within 4e-6.
"""

import pytest
import torch
from torch.nn import functional as F

from ssl_swin.pretrained.open import open_encoder
from ssl_swin.pretrained.timm import to_timm

SIZES = {"img_size": 128, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8)}


@pytest.fixture
def encoder(tiny):
    encoder = tiny(seed=1, **SIZES).eval()
    with torch.no_grad():  # norms start as 1 and 0, which hides their order
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return encoder


def their_order(value):
    """Columns of down-sampling as ``nn.Unfold`` gives them: channel, then row, then column."""
    dim = value.shape[-1] // 4
    places = [
        (2 * column + row) * dim + channel
        for channel in range(dim)
        for row in range(2)
        for column in range(2)
    ]
    return value[..., places]


def their_names(encoder):
    state = {"mask_token": encoder.mask_token.detach()}
    for name, value in to_timm(encoder.state_dict()).items():
        stage = name.split(".")[1]
        if ".downsample." in name:
            rest = name.partition(".downsample.")[2]
            state[f"stages.{int(stage) - 1}.downsample.{rest}"] = their_order(value)
            continue
        for ours, theirs in {
            "layers.": "stages.",
            ".attn.": ".attn.w_msa.",
            ".mlp.fc1.": ".ffn.layers.0.0.",
            ".mlp.fc2.": ".ffn.layers.1.",
            "patch_embed.proj.": "patch_embed.projection.",
        }.items():
            name = name.replace(ours, theirs)
        state[f"norm3.{name[5:]}" if name.startswith("norm.") else name] = value
    return state


def test_their_swin_is_found_and_down_sampling_put_into_order(encoder, tmp_path):
    state = {f"backbone.{name}": value for name, value in their_names(encoder).items()}
    index = {"backbone.stages.0.blocks.0.attn.w_msa.relative_position_index": torch.zeros(1)}
    others = {"backbone.norm1.weight": torch.ones(32), "head.fc.weight": torch.zeros(2, 128)}
    torch.save({"meta": {"epoch": 3}, "state_dict": state | index | others}, tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth")
    expected = encoder.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in opened.encoder.state_dict().items())
    assert opened.report.kind == "mmpretrain's Swin"
    assert opened.report.dropped == (
        "state_dict.backbone.norm1.weight",
        "state_dict.head.fc.weight",
    )
    assert opened.report.missing == ()
    assert len(opened.report.loaded) == len(state)


def test_down_sampling_computes_what_it_does_there(encoder):
    """There, 2 x 2 places come from ``nn.Unfold``."""
    theirs = their_names(encoder)
    maps = torch.randn(2, 16, 8, 8)
    columns = F.unfold(maps, kernel_size=2, stride=2).transpose(1, 2)  # (batch, places, 4 * 16)
    norm = [theirs[f"stages.0.downsample.norm.{key}"] for key in ("weight", "bias")]
    reduced = F.linear(
        F.layer_norm(columns, (64,), *norm), theirs["stages.0.downsample.reduction.weight"]
    )
    ours = encoder.backbone.layers[1].downsample
    parts = [maps[:, :, row::2, column::2] for column in range(2) for row in range(2)]
    joined = torch.cat(parts, 1).flatten(2).transpose(1, 2)  # in timm's order
    with torch.no_grad():
        expected = ours.reduction(ours.norm(joined))
    torch.testing.assert_close(reduced, expected, rtol=0, atol=1e-5)


def test_of_a_file_that_was_averaged_the_average_is_taken(encoder, tmp_path):
    """MMEngine writes the average as state_dict, and what was trained as ema_state_dict."""
    state = {f"backbone.{name}": value for name, value in their_names(encoder).items()}
    trained = {f"module.{name}": value + 1 for name, value in state.items()}
    torch.save({"state_dict": state, "ema_state_dict": trained}, tmp_path / "c.pth")
    found = open_encoder(tmp_path / "c.pth").encoder.state_dict()
    assert torch.equal(found["backbone.norm.bias"], encoder.backbone.norm.bias)
