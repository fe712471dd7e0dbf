import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import ssl_swin
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.timm import from_timm
from tests.pretrained.export.runs import IMAGES, close, exported, ran, shown
from tests.pretrained.runs import MEAN, STD


def test_timm_opens_an_encoder_by_its_folder_and_by_name_and_sizes(run, tmp_path, monkeypatch):
    source, encoder = run
    folder = exported(source, "timm", tmp_path / "out")
    names = ran(shown(folder), folder, monkeypatch)
    with torch.no_grad():
        close(names["model"](IMAGES), encoder)
        local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        close(local(IMAGES), encoder)
    assert local.num_classes == 0


def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(finetuned, tmp_path, monkeypatch):
    source, classifier = finetuned
    folder = exported(source, "timm", tmp_path / "out", "--license", "mit")
    names = ran(shown(folder), folder, monkeypatch)
    with torch.no_grad():
        close(names["model"](IMAGES), classifier)
        local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        close(local(IMAGES), classifier)
    assert list(local.pretrained_cfg["label_names"]) == ["cat", "dog", "owl"]
    assert local.pretrained_cfg["license"] == "mit"


def test_the_weights_go_back_bit_for_bit(run, tmp_path):
    source, encoder = run
    folder = exported(source, "timm", tmp_path / "out")
    back, own = from_timm(load_file(folder / "model.safetensors")), encoder.state_dict()
    assert back.keys() == own.keys() - {"mask_token"}
    assert all(torch.equal(back[name], own[name]) for name in back)
    read = ssl_swin.load_encoder(folder / "model.safetensors").encoder.state_dict()
    assert all(torch.equal(read[name], own[name]) for name in back)


def test_timm_makes_images_ready_as_we_do(run, tmp_path):
    folder = exported(run[0], "timm", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    known = timm.data.resolve_model_data_config(model)
    assert tuple(known["mean"]) == MEAN
    assert tuple(known["std"]) == STD
    assert known["input_size"] == (3, 64, 64)
    assert known["interpolation"] == config["interpolation"] == "bicubic"
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    image = Image.fromarray(pixels)
    theirs = timm.data.create_transform(**known)(image)
    ours = ssl_swin.load_encoder(run[0]).preprocess(image)[0]
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        {"window_size": (4, 2)},
        {"window_size": 5},  # padded
        {"img_size": (64, 96)},
        {"in_chans": 1},
    ],
)
def test_sizes_of_all_kinds_go_along(tiny, tmp_path, monkeypatch, sizes):
    encoder = tiny(**sizes).eval()
    num = encoder.in_chans
    card = EncoderCard.of(encoder, MEAN[:num], STD[:num])
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    folder = exported(tmp_path / "a.safetensors", "timm", tmp_path / "out")
    images = torch.randn(2, num, *encoder.img_size)
    with torch.no_grad():
        close(ran(shown(folder), folder, monkeypatch)["model"](images), encoder, images=images)
        local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        close(local(images), encoder, images=images)
