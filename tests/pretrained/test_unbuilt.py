import pytest
import timm
import torch
import torchvision

from ssl_swin.pretrained.elsewhere import NAMINGS, read_elsewhere
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.unbuilt import UNBUILT

V2 = {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 16, "img_size": 64, "window_size": 8}


def timms(name, **sizes):
    return timm.create_model(name, num_classes=2, **sizes).state_dict()


def torchvisions_v2():
    kinds = torchvision.models.swin_transformer
    return kinds.SwinTransformer(
        [4, 4],
        16,
        [1, 1],
        [1, 2],
        [4, 4],
        block=kinds.SwinTransformerBlockV2,
        downsample_layer=kinds.PatchMergingV2,
    ).state_dict()


def names(*some):
    return lambda: dict.fromkeys(some, torch.zeros(16, 3, 4, 4))


# What no library here makes has names as in the sources of the two.
NETWORKS = {
    "swin v2": lambda: timms("swinv2_tiny_window8_256", **V2),
    "swin v2 of pytorch-caney": lambda: {
        f"model.encoder.{name}": one for name, one in timms("swinv2_tiny_window8_256", **V2).items()
    },
    "swin v2 of SimMIM": names(
        "encoder.patch_embed.proj.weight", "encoder.layers.0.blocks.0.attn.rpe_mlp.0.weight"
    ),
    "swin v2 cr": lambda: timms("swinv2_cr_tiny_224", **V2),
    "torchvision v2": torchvisions_v2,
    "torchvision v2 of Satlas": lambda: {
        f"backbone.backbone.{name}": one for name, one in torchvisions_v2().items()
    },
    "mmpretrain v2": names(
        "patch_embed.projection.weight", "stages.0.blocks.0.attn.w_msa.cpb_mlp.0.weight"
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
        ": this release has encoders of Swin (version 1) and ViT alone; give weights of one"
    )
    assert "\n" not in told


def test_all_are_in_the_table():
    assert UNBUILT.items() <= NAMINGS.items()
    assert {one.ours for one in UNBUILT.values()} == {None}
