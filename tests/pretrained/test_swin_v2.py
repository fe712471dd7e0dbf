"""Swin V2 from every library: names, biases, windows, and what nobody says."""

import json
import math

import pytest
import timm
import torch
from torch.nn import functional as F

import ssl_swin
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.swin_v2 import read_coordinates
from ssl_swin.pretrained.timm import to_timm
from tests.pretrained.test_mmpretrain import their_order
from tests.pretrained.version2 import (
    IMAGES,
    NAME,
    SIZES,
    buffers,
    official,
    torchvisions,
    transformer,
    v2,
)


def same(opened, encoder):
    own, expected = opened.encoder.state_dict(), encoder.state_dict()
    assert own.keys() == expected.keys()
    with torch.no_grad():
        return all(torch.equal(own[k], expected[k]) for k in own if k != "mask_token") and (
            torch.equal(opened.encoder.eval()(IMAGES), encoder(IMAGES))
        )


@pytest.mark.parametrize("network", ["cpb_mlp", "rpe_mlp"])
@pytest.mark.parametrize("before", ["", "model.", "state_dict.module."])
def test_the_official_code_and_pytorch_caney(tmp_path, network, before):
    encoder = v2(img_size=64, window_size=16)  # of which the second stage is 8
    state = official(encoder, network)
    if before:
        state = {before + name: one for name, one in state["model"].items()}
    torch.save(state, tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth")
    assert same(opened, encoder)
    assert torch.equal(opened.encoder.mask_token, encoder.mask_token)
    report = opened.report
    assert report.kind == "official Swin V2"
    assert [one.partition("decoder.")[2] for one in report.dropped] == ["0.weight", "0.bias"]
    (remark,) = report.remarks
    assert remark == (
        "windows of 16 tokens a side, scaled by 16, 8 in pretraining, by relative_coords_table, "
        "which is made anew"
    )
    assert opened.encoder.architecture() | {"name": NAME} == encoder.architecture()
    renamed = {theirs.rpartition(".attn.")[2] for theirs, _ in report.remapped if "attn" in theirs}
    parts = {"rpe_mlp.0.weight", "rpe_mlp.0.bias", "rpe_mlp.2.weight"}
    assert renamed == (parts if network == "rpe_mlp" else set())


def test_the_official_loss_on_locally_normalised_pixels(tmp_path):
    """The loss of the recipe's page, with window 47, in plain lines, of a checkpoint's weights."""
    theirs = transformer("Swinv2ForMaskedImageModeling")
    theirs.save_pretrained(tmp_path)
    opened = open_encoder(tmp_path)
    again = official(opened.encoder)
    torch.save(again, tmp_path / "c.pth")
    model = SimMIM(open_encoder(tmp_path / "c.pth").encoder, 8, TARGETS["normalised_pixels"]())
    model.decoder.conv.load_state_dict(theirs.decoder[0].state_dict())
    mask = model.random_mask(torch.arange(3), mask_ratio=0.6)
    tokens = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    side, pad = 47, 23
    with torch.no_grad():
        rebuilt = theirs(IMAGES, bool_masked_pos=tokens.flatten(1)).reconstruction
        mean = F.avg_pool2d(IMAGES, side, 1, pad, count_include_pad=False)
        square = F.avg_pool2d(IMAGES**2, side, 1, pad, count_include_pad=False)
        count = F.avg_pool2d(torch.ones_like(IMAGES), side, 1, pad) * side**2
        var = ((square - mean**2) * count / (count - 1)).clamp(min=0)
        target = (IMAGES - mean) / (var + 1e-6).sqrt()
        hidden = tokens.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
        expected = ((target - rebuilt).abs() * hidden).sum() / (hidden.sum() + 1e-5) / 3
        torch.testing.assert_close(model.eval()(IMAGES, mask), expected, rtol=0, atol=1e-5)


def test_timms_files_say_their_windows_beside(tmp_path):
    encoder = v2(window_size=(8, 4), pretrained_window_sizes=(6, 4))
    torch.save(to_timm(encoder.state_dict()), tmp_path / "pytorch_model.bin")
    arguments = {"window_size": [8, 4], "pretrained_window_sizes": [[6, 6], [4, 4]]}
    config = {"architecture": NAME, "model_args": arguments}
    known = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": known}))
    opened = open_encoder(tmp_path)
    assert same(opened, encoder)
    assert opened.mean == (0.5,) * 3
    assert opened.report.remarks == (
        "windows of [8, 4] tokens a side, scaled by 6, 4 in pretraining, by config.json",
    )


def test_what_timm_saved_alone_says_no_window_and_is_refused_until_somebody_does(tmp_path):
    theirs = timm.create_model(NAME, num_classes=2, **SIZES)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=r"timm's Swin V2: .* give window_size") as caught:
        ssl_swin.load_encoder(tmp_path / "c.pth")
    assert "\n" not in str(caught.value)
    found = ssl_swin.load_encoder(tmp_path / "c.pth", img_size=64, window_size=8)
    with torch.no_grad():
        expected = theirs.eval().forward_features(IMAGES).permute(0, 3, 1, 2)
        torch.testing.assert_close(found.maps(IMAGES), expected, rtol=0, atol=1e-5)
    assert found.report.kind == "timm's Swin V2"
    assert found.report.missing == ("mask_token",)


def test_old_files_of_timm_have_coordinates(tmp_path):
    encoder = v2()
    torch.save(to_timm(encoder.state_dict()) | buffers(encoder), tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth")
    assert opened.report.kind == "timm's Swin V2"
    assert same(opened, encoder)


@pytest.mark.parametrize("before", ["", "backbone.backbone."])
def test_torchvision_and_satlas(tmp_path, before):
    theirs = torchvisions()
    state = {before + name: one for name, one in theirs.state_dict().items()}
    torch.save(state, tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth")
    with torch.no_grad():
        expected = theirs.norm(theirs.features(IMAGES)).permute(0, 3, 1, 2)
        torch.testing.assert_close(opened.encoder.eval()(IMAGES), expected, rtol=0, atol=1e-5)
    own = opened.encoder.state_dict()
    bias = theirs.state_dict()["features.1.0.attn.qkv.bias"]
    assert bias[16:32].any()  # of keys: not used there, not taken here
    assert torch.equal(own["backbone.layers.0.blocks.0.attn.q_bias"], bias[:16])
    assert torch.equal(own["backbone.layers.0.blocks.0.attn.v_bias"], bias[32:])
    report = opened.report
    assert report.kind == "torchvision's Swin V2"
    assert report.dropped == (f"{before}head.weight", f"{before}head.bias")
    pairs = {ours for name, ours in report.remapped if name == "features.1.0.attn.qkv.bias"}
    assert pairs == {f"backbone.layers.0.blocks.0.attn.{one}_bias" for one in "qv"}


@pytest.mark.parametrize("how", ["save_pretrained", "state_dict"])
@pytest.mark.parametrize("kind", ["Swinv2Model", "Swinv2ForImageClassification"])
@pytest.mark.parametrize("scales", [[0, 0], [12, 6]])
def test_transformers(tmp_path, kind, how, scales):
    theirs = transformer(kind, pretrained_window_sizes=scales)
    bare = theirs if kind == "Swinv2Model" else theirs.swinv2
    if how == "save_pretrained":
        theirs.save_pretrained(tmp_path)
        opened = open_encoder(tmp_path)
    else:
        torch.save(theirs.state_dict(), tmp_path / "c.pth")
        sizes = {"img_size": 64, "window_size": 8, "pretrained_window_sizes": scales}
        opened = open_encoder(tmp_path / "c.pth", **sizes)
    with torch.no_grad():
        expected = bare(IMAGES).last_hidden_state
        found = opened.encoder.eval()(IMAGES).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert opened.report.kind == "the Swin V2 of transformers"
    assert opened.report.missing == ("mask_token",)
    expected = [one or 8 for one in scales]
    assert opened.encoder.architecture()["pretrained_window_sizes"] == expected


def test_simmim_of_transformers_has_the_same_loss_here(tmp_path):
    theirs = transformer("Swinv2ForMaskedImageModeling")
    theirs.save_pretrained(tmp_path)
    opened = open_encoder(tmp_path)
    assert opened.report.missing == ()
    ours = SimMIM(opened.encoder, 8).eval()
    ours.decoder.conv.load_state_dict(theirs.decoder[0].state_dict())
    mask = ours.random_mask(torch.arange(3))
    tokens = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        expected = theirs(IMAGES, bool_masked_pos=tokens.flatten(1)).loss
        torch.testing.assert_close(ours(IMAGES, mask), expected, rtol=0, atol=1e-5)


def test_mmpretrain_by_its_names(tmp_path):
    """Down-sampling is counted to the stage it enters, and only its linear layer is reordered."""
    encoder = v2()
    state = {"mask_token": encoder.mask_token.detach()}
    for name, value in (to_timm(encoder.state_dict()) | buffers(encoder)).items():
        if name.endswith("reduction.weight"):
            value = their_order(value)
        for ours, theirs in {
            "layers.": "stages.",
            ".attn.": ".attn.w_msa.",
            ".mlp.fc1.": ".ffn.layers.0.0.",
            ".mlp.fc2.": ".ffn.layers.1.",
            "patch_embed.proj.": "patch_embed.projection.",
        }.items():
            name = name.replace(ours, theirs)
        state[f"norm3.{name[5:]}" if name.startswith("norm.") else name] = value
    torch.save(
        {"state_dict": {f"backbone.{k}": one for k, one in state.items()}}, tmp_path / "c.pth"
    )
    opened = open_encoder(tmp_path / "c.pth")
    assert same(opened, encoder)
    assert opened.report.kind == "mmpretrain's Swin V2"
    assert opened.report.missing == opened.report.dropped == ()


def test_the_extra_norms_of_the_largest_are_no_part_of_any_encoder_here(tmp_path):
    state = official(v2())
    state["model"]["encoder.layers.1.blocks.1.norm3.weight"] = torch.ones(32)
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=r"1 unknown: .*blocks\.1\.norm3\.weight"):
        find_weights(tmp_path / "c.pth")


def test_another_window_keeps_the_scale_that_is_learned(tmp_path):
    encoder = v2()
    torch.save(official(encoder), tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth", img_size=128, window_size=16)
    assert opened.encoder.architecture()["pretrained_window_sizes"] == [8, 8]
    assert opened.encoder.window_size == 16
    assert opened.report.resized == ()
    ours = ssl_swin.load_encoder(tmp_path / "c.pth", img_size=128, window_size=16)
    ours.save(tmp_path / "mine.safetensors")
    again = ssl_swin.load_encoder(tmp_path / "mine.safetensors", img_size=64, window_size=8)
    with torch.no_grad():
        assert torch.equal(again.maps(IMAGES), encoder(IMAGES))
    with pytest.raises(
        PretrainedMismatch, match=r"pretrained_window_sizes is \[4, 4\] in the model"
    ):
        ssl_swin.load_encoder(tmp_path / "mine.safetensors", pretrained_window_sizes=4)


def table(rows=5, cols=5):
    return torch.zeros(1, rows, cols, 2)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (table()[0], "which no window of a Swin V2 has"),
        (table(4), "which no window of a Swin V2 has"),
        (table(9999), "which no window of a Swin V2 has"),
        (table(), "spaced otherwise"),
        (torch.full((1, 5, 5, 2), math.inf), "spaced otherwise"),
        (torch.linspace(-1, 1, 5).view(1, 5, 1, 1).expand(1, 5, 5, 2), "spaced otherwise"),
    ],
)
def test_coordinates_of_another_kind_are_refused(bad, told):
    with pytest.raises(PretrainedMismatch, match=told):
        read_coordinates(bad)


@pytest.mark.parametrize("scales", [(8, 8), (3, 5), (200, 16)])
def test_coordinates_tell_both_windows(scales):
    encoder = v2(window_size=((8, 4), (8, 4)), pretrained_window_sizes=(scales,) * 2)
    for found in list(buffers(encoder).values())[::2]:
        assert read_coordinates(found) == ((8, 4), scales)


def test_a_window_of_one_token_has_no_numbers_there():
    assert read_coordinates(torch.full((1, 1, 1, 2), math.nan)) == ((1, 1), (1, 1))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "swinv2", "image_size": 64},
        {"model_type": "swinv2", "image_size": 64, "window_size": "8"},
        {"architecture": "swinv2_of_mine", "pretrained_cfg": {"input_size": [3, 64, 64]}},
    ],
)
def test_what_stands_beside_and_tells_no_window_is_no_window(tmp_path, config):
    torch.save(to_timm(v2().state_dict()), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_weights(tmp_path).architecture["window_size"] is None


def test_what_stands_beside_and_cannot_be_is_one_line(tmp_path):
    torch.save(to_timm(v2().state_dict()), tmp_path / "pytorch_model.bin")
    config = {"model_type": "swinv2", "image_size": 64, "window_size": -3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PretrainedMismatch, match=r"config\.json beside it says .*window_size=-3"):
        find_weights(tmp_path)
