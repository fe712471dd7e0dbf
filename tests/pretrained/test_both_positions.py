"""Swins that embed absolute places beside relative ones: out, and in from elsewhere."""

import pytest
import torch
import transformers

import ssl_swin
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.export.command import export
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.timm import to_timm
from tests.pretrained.vits import moved

SIZES = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
NAMES = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def both(name, img_size=64):
    torch.manual_seed(0)
    return moved(build_encoder(name, img_size, 3, position="both", **SIZES)).eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["official", "hf"])
def test_what_is_exported_comes_back(tmp_path, name, form):
    encoder = both(name)
    ssl_swin.save_encoder(encoder, tmp_path / "a.safetensors")
    if (name, form) == (NAMES[1], "hf"):
        with pytest.raises(ValueError, match=r"cannot express model\.position=both; use"):
            export(str(tmp_path / "a.safetensors"), format=form, output=tmp_path / "out")
        return
    export(str(tmp_path / "a.safetensors"), format=form, output=tmp_path / "out")
    last = "checkpoint.pth" if form == "official" else ""
    again = ssl_swin.load_encoder(tmp_path / "out" / last)
    assert again.card.architecture == encoder.architecture() | {"name": name}
    with torch.no_grad():
        assert torch.equal(again.maps(IMAGES), encoder(IMAGES))
    assert again.report.resized == ()


@pytest.mark.parametrize("img_size", [64, (32, 96)])
def test_transformers_says_the_image(tmp_path, img_size):
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
    config = transformers.SwinConfig(image_size=img_size, use_absolute_embeddings=True, **sizes)
    torch.manual_seed(0)
    theirs = moved(transformers.SwinModel(config, add_pooling_layer=False).eval())
    theirs.save_pretrained(tmp_path)
    opened = open_encoder(tmp_path)
    rows, cols = opened.img_size
    assert (rows, cols) == (img_size if isinstance(img_size, tuple) else (64, 64))
    images = torch.randn(2, 3, rows, cols)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        found = opened.encoder.eval()(images).flatten(2).transpose(1, 2)
    if rows == cols:  # else a stage is one window by rows alone, which is not shifted there
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert opened.encoder.architecture()["position"] == "both"
    own = opened.encoder.state_dict()["backbone.absolute_pos_embed"]
    assert torch.equal(own, theirs.state_dict()["embeddings.position_embeddings"])


@pytest.mark.parametrize("name", NAMES)
def test_a_square_is_taken_alone_and_told(tmp_path, name):
    encoder = both(name)
    torch.save(to_timm(encoder.state_dict()), tmp_path / "a.pth")
    opened = open_encoder(tmp_path / "a.pth", window_size=4)
    assert opened.img_size == (64, 64)
    assert any("of images of 16 x 16 tokens: nobody" in one for one in opened.report.remarks)
    torch.save(to_timm(both(name, (64, 96)).state_dict()), tmp_path / "a.pth")
    with pytest.raises(PretrainedMismatch, match="of 384 tokens is of no image of 76 x 76 pixels"):
        find_weights(tmp_path / "a.pth")
