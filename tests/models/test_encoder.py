import pytest

from ssl_swin.models.encoder import ENCODERS, build_encoder

SIZES = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}


def test_sizes_that_are_none_are_those_of_the_name():
    name = "swin_tiny_patch4_window7_224"
    encoder = build_encoder(name, 56, 1, window_size=None, patch_size=None, **SIZES)
    assert (encoder.img_size, encoder.in_chans) == ((56, 56), 1)
    assert (encoder.patch_size, encoder.architecture()["window_size"]) == (4, 7)


def test_the_tag_behind_timms_name_does_not_matter():
    encoder = build_encoder("swin_tiny_patch4_window7_224.ms_in1k", 56, 3, **SIZES)
    again = build_encoder(**encoder.architecture())
    assert again.architecture() == encoder.architecture()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("swinv2_tiny_window8_256", "nearest: swin_"),
        ("swin_tiny", "swin_tiny_patch4_window7_224"),
        ("resnet50", "'resnet50' is no encoder known here"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(name, told):
    with pytest.raises(ValueError, match=told):
        build_encoder(name, 64, 3)


def test_a_size_that_the_encoder_does_not_have_is_refused():
    with pytest.raises(ValueError, match="has no depth; it takes name, img_size"):
        build_encoder("swin_tiny_patch4_window7_224", 64, 3, depth=3)


def test_every_swin_of_timm_is_known():
    assert "swin_large_patch4_window12_384" in ENCODERS
    assert not any(name.startswith("swinv2") for name in ENCODERS)
