import pytest
import timm
import torch
import torchvision

from ssl_swin.pretrained.elsewhere import NAMINGS, read_elsewhere
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.unbuilt import UNBUILT

V2 = {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 16, "img_size": 64, "window_size": 8}
VIT = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32}


def timms(name, **sizes):
    return timm.create_model(name, num_classes=2, **sizes).state_dict()


def torchvisions_vit():
    return torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 32).state_dict()


def names(*some):
    return lambda: dict.fromkeys(some, torch.zeros(16, 3, 4, 4))


# What no library here makes has names as in the sources of the two.
NETWORKS = {
    "swin v2 cr": lambda: timms("swinv2_cr_tiny_224", **V2),
    "vit": lambda: timms("vit_tiny_patch16_224", **VIT),
    "vit of SimMIM": lambda: {
        f"encoder.{name}": one for name, one in timms("beit_base_patch16_224", **VIT).items()
    },
    "torchvision vit": torchvisions_vit,
    "mmpretrain vit": names(
        "backbone.patch_embed.projection.weight", "backbone.layers.0.attn.qkv.bias"
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_an_encoder_here_is_named_in_one_line(tmp_path, name):
    torch.save({"state_dict": NETWORKS[name]()}, tmp_path / "c.pth")
    kind = UNBUILT[name.partition(" of ")[0]].kind
    with pytest.raises(PretrainedMismatch) as caught:
        read_elsewhere(tmp_path / "c.pth")
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'c.pth'} is {kind} under 'state_dict.")
    assert told.endswith(
        ": this release has encoders of Swin and Swin V2 alone; give weights of one"
    )
    assert "\n" not in told


def test_all_are_in_the_table():
    assert UNBUILT.items() <= NAMINGS.items()
    assert {one.ours for one in UNBUILT.values()} == {None}
