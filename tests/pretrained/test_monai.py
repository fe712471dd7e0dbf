"""Files as MONAI names things; the library itself is not installed.

By hand, with MONAI 1.6.1, features of a small Swin were equal within 3e-6.
"""

import pytest
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.timm import to_timm


@pytest.fixture
def theirs(tiny):
    """An encoder whose last norm has no weights, and its state as a Swin UNETR's."""
    encoder = tiny(seed=1, img_size=128, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8)).eval()
    state = {}
    for name, value in to_timm(encoder.state_dict()).items():
        if name.startswith("norm."):
            continue
        words = name.replace(".mlp.fc", ".mlp.linear").split(".")
        if words[0] == "layers":
            stage = int(words[1]) + (words[2] != "downsample")
            words = [f"layers{stage}", "0", *words[2:]]
        state["swinViT." + ".".join(words)] = value
    after = {"swinViT.layers4.0.downsample.reduction.weight": torch.zeros(256, 512)}
    return encoder, state | after | {"encoder1.layer.conv1.conv.weight": torch.zeros(1)}


def test_their_encoder_is_found_and_its_last_norm_told(theirs, tmp_path):
    encoder, state = theirs
    torch.save({"state_dict": state}, tmp_path / "c.pt")
    opened = open_encoder(tmp_path / "c.pt")
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(images), encoder(images))
    report = opened.report
    assert report.kind == "MONAI's Swin"
    assert report.remarks == ("norm.weight is 1 and norm.bias 0, as MONAI norms without weights",)
    assert len(report.dropped) == 2
    assert len(report.loaded) == len(state) - 2


def test_patches_without_norm_and_volumes_are_refused(theirs, tmp_path):
    _, state = theirs
    bare = {name: value for name, value in state.items() if ".patch_embed.norm." not in name}
    torch.save(bare, tmp_path / "c.pt")
    with pytest.raises(PretrainedMismatch, match="built with patch_norm=True"):
        find_weights(tmp_path / "c.pt")
    torch.save(
        state | {"swinViT.patch_embed.proj.weight": torch.zeros(16, 3, 4, 4, 4)}, tmp_path / "c.pt"
    )
    with pytest.raises(PretrainedMismatch, match="these are weights for volumes"):
        find_weights(tmp_path / "c.pt")
