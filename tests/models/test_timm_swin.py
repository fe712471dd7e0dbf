import pytest
import timm
import torch

from ssl_swin.models.swin import SwinEncoder

SIZES = {"window_size": 4, "embed_dim": 16, "depths": (2, 2, 2), "num_heads": (1, 2, 4)}


@pytest.mark.parametrize("change", [{}, {"img_size": (64, 96)}, {"window_size": (4, 8, 4)}])
def test_runs_of_earlier_releases_compute_what_timm_does_bit_for_bit(change):
    sizes = {"img_size": 64} | SIZES | change
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", **sizes, implementation="timm").eval()
    theirs = encoder.backbone
    assert type(theirs) is timm.models.SwinTransformer
    images = torch.randn(2, 3, *encoder.img_size)
    nothing = torch.zeros(2, *(side // 4 for side in encoder.img_size)).bool()
    with torch.no_grad():
        features = theirs.forward_features(images).permute(0, 3, 1, 2)
        maps = theirs.forward_intermediates(images, intermediates_only=True)
        assert torch.equal(encoder(images), features)
        assert torch.equal(encoder(images, nothing), features)
        for one, other in zip(encoder.stages(images), maps, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("img_size", [64, (16, 256), (32, 224)])
def test_the_window_of_a_name_is_known_from_stages_that_are_smaller(img_size):
    sizes = {"img_size": img_size, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 1, 1)}
    built = SwinEncoder("swin_tiny_patch4_window7_224", implementation="timm", **sizes)
    assert built.window_size == 7
