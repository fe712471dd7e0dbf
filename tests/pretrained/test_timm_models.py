import pytest
import safetensors.torch
import timm
import torch

from ssl_swin.errors import MachineError, UserError
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.timm_models import open_timm


def same(model, other):
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = (one.eval().forward_features(images) for one in (model, other))
        return torch.equal(*tokens)


def test_weights_of_a_file_without_head_and_what_images_are_for_them(vit):
    model, file = vit
    found = open_timm("test_vit", file)
    assert same(model, found.model)
    assert found.model.num_classes == 0
    config = timm.get_pretrained_cfg("test_vit")
    assert (found.img_size, found.mean, found.std) == (160, config.mean, config.std)
    assert (found.crop_pct, found.interpolation) == (config.crop_pct, "bicubic")
    assert "state_dict" not in found.model.pretrained_cfg


@pytest.mark.parametrize("inside", ["state_dict", "model", "model_ema"])
def test_weights_within_a_checkpoint_and_wrappers(vit, tmp_path, inside):
    model, _ = vit
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({inside: state, "epoch": 3, "optimizer": {"m": torch.zeros(1)}}, tmp_path / "a.pth")
    assert same(model, open_timm("test_vit", tmp_path / "a.pth").model)


def test_safetensors_in_half_precision_compute_in_float32(vit, tmp_path):
    half = {name: value.bfloat16() for name, value in vit[0].state_dict().items()}
    safetensors.torch.save_file(half, tmp_path / "a.safetensors")
    found = open_timm("test_vit", tmp_path / "a.safetensors").model
    assert {one.dtype for one in found.parameters()} == {torch.float32}


def test_another_size_is_built_where_the_model_can(vit):
    assert open_timm("test_vit", vit[1], img_size=64).img_size == 64
    assert open_timm("resnet10t", img_size=64, trained=False).img_size == 64
    with pytest.raises(UserError, match="cannot be built with -1 pixels"):
        open_timm("swin_tiny_patch4_window7_224", img_size=-1, trained=False)


@pytest.mark.parametrize("img_size", [None, 224])
def test_a_model_without_weights_is_said_to_have_none_whatever_its_size(img_size):
    name = "vit_small_patch16_36x1_224"
    assert not timm.get_pretrained_cfg(name).has_weights
    with pytest.raises(UserError, match=f"timm has no weights of {name}: give them as a file"):
        open_timm(name, img_size=img_size)


def test_what_does_not_fit_is_refused(vit, tmp_path):
    state = vit[0].state_dict()
    del state["norm.weight"]
    torch.save(state, tmp_path / "less.pth")
    for name, file in (("test_vit", tmp_path / "less.pth"), ("test_vit2", vit[1])):
        with pytest.raises(PretrainedMismatch, match=f"does not fit timm's {name}"):
            open_timm(name, file)
    (tmp_path / "no.pth").write_bytes(b"no weights")
    with pytest.raises(PretrainedMismatch, match="it begins with b'no weights'"):
        open_timm("test_vit", tmp_path / "no.pth")
    with pytest.raises(UserError, match="there is no such file"):
        open_timm("test_vit", tmp_path / "away.pth")
    with pytest.raises(
        UserError, match=r"none of timm's \d+ models, give another: the nearest are .*resnet18"
    ):
        open_timm("resnet_18")


def test_what_timm_does_to_images_and_we_do_not_is_told():
    found = open_timm("coat_lite_tiny.in1k", trained=False)
    assert found.told == "timm's coat_lite_tiny.in1k"
    squashed = open_timm("convnextv2_nano.fcmae_ft_in22k_in1k_384", trained=False)
    assert "where timm does 'squash'" in squashed.told


def test_weights_that_cannot_be_fetched_are_the_machines_fault(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match="timm:vit_tiny_patch16_224:FILE"):
        open_timm("vit_tiny_patch16_224")
    with pytest.raises(UserError, match="timm has no weights of"):
        open_timm("vit_tiny_patch16_224.nobody")
