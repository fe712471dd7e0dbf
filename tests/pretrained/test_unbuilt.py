import pytest
import timm
import torch

from ssl_swin.pretrained.elsewhere import NAMINGS, read_elsewhere
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.unbuilt import UNBUILT

V2 = {"depths": (1, 1), "num_heads": (1, 2), "embed_dim": 16, "img_size": 64, "window_size": 8}


def timms(name, **sizes):
    return timm.create_model(name, num_classes=2, **sizes).state_dict()


NETWORKS = {
    "swin v2 cr": lambda: timms("swinv2_cr_tiny_224", **V2),
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
        ": this release has encoders of Swin, Swin V2 and ViT alone; give weights of one"
    )
    assert "\n" not in told


def test_all_are_in_the_table():
    assert UNBUILT.items() <= NAMINGS.items()
    assert {one.ours for one in UNBUILT.values()} == {None}
