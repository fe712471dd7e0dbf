import pytest
import timm
import torch

import ssl_swin
from ssl_swin.errors import UserError
from ssl_swin.pretrained.timm import weights_of_model
from ssl_swin.pretrained.timm_vit import timm_arguments, timm_name, timm_vit, to_timm_vit
from tests.pretrained.vits import IMAGES, PRETRAINED, TUNED, vit, written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fc_norm": True, "class_token": False},
        {"position": "none", "init_values": 0.1, "qkv_bias": "none"},
        PRETRAINED,
        TUNED,
        {"position": "both", "qkv_bias": "qv", "in_chans": 1},
        {"qkv_bias": "qv", "img_size": (64, 32)},
    ],
)
def test_timms_model_computes_what_ours_does(changes, tmp_path):
    encoder = vit(**changes)
    theirs = ssl_swin.load_encoder(written(encoder, tmp_path / "a.safetensors")).to_timm()
    images = IMAGES[:, : encoder.in_chans, : encoder.img_size[0], : encoder.img_size[1]]
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), encoder.pool(encoder(images)), rtol=0, atol=1e-5)
    sizes = encoder.architecture()
    bare = timm.create_model(timm_name(sizes), num_classes=0, **timm_arguments(sizes))
    bare.load_state_dict(to_timm_vit(encoder.state_dict(), sizes), strict=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"position": "relative"}, "model.position=relative with model.qkv_bias=qkv"),
        ({**PRETRAINED, "class_token": False}, "model.class_token=False with model.qkv_bias=qv"),
    ],
)
def test_what_timm_has_not_is_told(changes, told):
    with pytest.raises(UserError, match=told):
        timm_vit(vit(**changes))


def test_weights_of_a_model_of_timms_come_in():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=1)
    found = weights_of_model(model, "vit_tiny_patch16_224.augreg_in21k")
    assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)
    assert found.architecture["img_size"] == [224, 224]
    assert found.architecture["num_heads"] == [3]
    assert torch.equal(found.state["backbone.norm.weight"], torch.ones(192))
    assert found.report.kind == "timm's vit_tiny_patch16_224.augreg_in21k"
