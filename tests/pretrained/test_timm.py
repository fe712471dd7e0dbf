import pytest
import timm
import torch

from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.open import load_into
from ssl_swin.pretrained.timm import from_timm, sizes_of, to_timm


@pytest.fixture
def theirs():
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=0,
        img_size=64,
        window_size=4,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    ).eval()


def test_timm_takes_our_weights_strictly(tiny, theirs):
    encoder = tiny().eval()
    theirs.load_state_dict(to_timm(encoder.state_dict()), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = encoder(images).permute(0, 2, 3, 1), theirs.forward_features(images)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_we_take_timms_weights(tiny, theirs):
    theirs.reset_classifier(10)
    encoder = tiny().eval()
    assert load_into(encoder, from_timm(theirs.state_dict())).missing == ("mask_token",)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = encoder(images).permute(0, 2, 3, 1), theirs.forward_features(images)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", timm.list_models("swin_*"))
def test_the_shapes_of_timms_own_swins_say_what_they_are(name):
    img_size = timm.get_pretrained_cfg(name).input_size[-1]
    with torch.device("meta"):
        encoder = build_encoder(name, img_size, 3)
        again = build_encoder(**sizes_of(encoder.state_dict()))
    assert again.architecture() == encoder.architecture() | {"name": again.name}
