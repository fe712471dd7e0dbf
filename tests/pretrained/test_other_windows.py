"""Encoders that go over to other windows and images: features stay nearly the same."""

import math

import pytest
import torch
from torch.nn import functional as F

from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.load import save_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import load_into, open_encoder

SWIN, V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
SIZES = {"embed_dim": 16, "depths": (2, 2, 2), "num_heads": (1, 2, 4)}
OBLONG = ((7, 9),) * 3
# image and window before, image and window after
CHANGES = [
    (192, 6, 224, 7),
    (192, 12, 224, 14),
    pytest.param((192, 6, 384, 12), marks=pytest.mark.slow),
    (192, 6, (224, 288), OBLONG),
]


@torch.no_grad()
def trained(name, img_size, window_size):
    """Build an encoder whose weights keep the size of numbers, and which looks at places.

    What it adds to scores is smooth, several units large, and other for each side of a token.
    """
    encoder = build_encoder(name, img_size, 3, window_size=window_size, **SIZES).eval()
    torch.manual_seed(1)
    for key, one in encoder.named_parameters():
        if "cpb_mlp" in key:
            one.copy_(torch.randn_like(one) / one.shape[-1] ** 0.5)
        elif one.ndim in (2, 4) and "table" not in key:
            one.copy_(torch.randn_like(one) / one[0].numel() ** 0.5)
        elif key.endswith(("norm1.weight", "norm2.weight")):
            one.fill_(1.0)  # of a Swin V2 they start at 0
    for key, (rows, cols) in encoder.position_tables().items():
        down, right = (torch.arange(1.0 - side, side) / 3 for side in (rows, cols))
        far = (down[:, None] ** 2 + right**2).sqrt() / 2
        table = encoder.state_dict()[key]
        sides = torch.randn(table.shape[1], 2)
        each = [(a * down).tanh()[:, None] + (b * right).tanh() - far for a, b in sides]
        table.copy_(3 * torch.stack([one.flatten() for one in each], 1))
    return encoder


def seen(encoder):
    """The features of smooth images of the encoder's size, (4, num_features)."""
    noise = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    images = F.interpolate(noise, size=encoder.img_size, mode="bicubic", align_corners=False)
    with torch.no_grad():
        return encoder(images).mean((2, 3))


def alike(one, two):
    return F.cosine_similarity(one, two).min().item()


@pytest.mark.parametrize("name", [SWIN, V2])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_features_stay_and_would_not_without_what_is_learned_of_places(name, change, tmp_path):
    img_size, window_size, new_img_size, new_window_size = change
    encoder = trained(name, img_size, window_size)
    save_encoder(encoder, tmp_path / "e.safetensors")
    opened = open_encoder(
        tmp_path / "e.safetensors", img_size=new_img_size, window_size=new_window_size
    )
    moved = opened.encoder.eval()
    assert bool(opened.report.resized) == (name == SWIN)
    before = seen(encoder)
    assert alike(before, seen(moved)) > 0.95
    torch.manual_seed(3)
    with torch.no_grad():  # what is learned of places becomes that of others
        for key, one in moved.named_parameters():
            if key in moved.position_tables():
                one.copy_(one[torch.randperm(len(one))])
            elif "cpb_mlp.2" in key:
                one.neg_()
    assert alike(before, seen(moved)) < 0.95


@pytest.mark.parametrize(("old", "new"), [(6, (7, 7)), (12, (14, 14)), (6, (12, 12)), (6, (7, 9))])
def test_the_bias_of_a_swin_v2_is_that_of_the_coordinates_it_learned(old, new, tmp_path):
    """At any displacement what its network says, scaled by the old window as in the paper."""
    encoder = trained(V2, 32 * old, old)
    save_encoder(encoder, tmp_path / "e.safetensors")
    size = (32 * new[0], 32 * new[1])
    opened = open_encoder(tmp_path / "e.safetensors", img_size=size, window_size=(new,) * 3)
    attention = opened.encoder.backbone.layers[0].blocks[1].attn
    cols = new[1]
    with torch.no_grad():
        found = attention.relative_bias()  # (heads, places, places)
        for seen_from, there in ((0, new[0] * cols - 1), (cols + 1, 2), (3, 3), (cols, 0)):
            far = [a - b for a, b in zip(divmod(seen_from, cols), divmod(there, cols), strict=True)]
            spaced = [
                math.copysign(math.log2(1 + 8 * abs(one) / (old - 1)) / 3, one) for one in far
            ]
            bias = 16 * attention.cpb_mlp(torch.tensor([spaced])).sigmoid()[0]
            torch.testing.assert_close(found[:, seen_from, there], bias, rtol=0, atol=1e-5)
    before = encoder.backbone.layers[0].blocks[1].attn.relative_bias()
    torch.testing.assert_close(found[:, cols + 1, 0], before[:, old + 1, 0], rtol=0, atol=1e-6)
    unscaled = build_encoder(V2, size, 3, window_size=(new,) * 3, **SIZES)
    with pytest.raises(PretrainedMismatch, match="pretrained_window_sizes"):
        load_into(unscaled, encoder.state_dict(), opened.card)
