import pytest
import torch
from torchvision.models import SwinTransformer

from ssl_swin.pretrained.open import open_encoder


@pytest.fixture(scope="module")
def theirs():
    """A small Swin of torchvision with a head of 5 classes."""
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 16, [2, 1, 2], [1, 2, 4], [4, 4], num_classes=5).eval()


@pytest.mark.parametrize("before", ["", "model.module.", "backbone."])
def test_torchvisions_swin_computes_the_same_features_here(theirs, tmp_path, before):
    state = {before + name: tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "swin.pth")
    opened = open_encoder(tmp_path / "swin.pth")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.norm(theirs.features(images)).permute(0, 3, 1, 2)
        found = opened.encoder.eval()(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    report = opened.report
    assert report.kind == "torchvision's Swin"
    assert report.dropped == (f"model.{before}head.weight", f"model.{before}head.bias")
    assert report.missing == ("mask_token",)
    assert ("features.2.norm.bias", "backbone.layers.1.downsample.norm.bias") in (report.remapped)
    parameters = {name for name, _ in theirs.named_parameters() if not name.startswith("head")}
    assert len(report.loaded) == len(parameters)
