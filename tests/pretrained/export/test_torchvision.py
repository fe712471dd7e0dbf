import json

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_swin
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.torchvision import misfit
from tests.pretrained.export.runs import IMAGES, close, exported, ran, shown
from tests.pretrained.runs import MEAN, STD


def back(state):
    """Names of torchvision -> ours: what a way back in has to do."""
    ours = {}
    for name, value in state.items():
        if name.endswith("relative_position_index"):
            continue
        first, *rest = name.removeprefix("features.").split(".")
        if name.startswith("features.0."):
            rest = ["patch_embed", {"0": "proj", "2": "norm"}[rest[0]], *rest[1:]]
        elif name.startswith("features."):
            stage, merges = divmod(int(first), 2)
            rest = ["layers", str(stage), "blocks" if merges else "downsample", *rest]
        else:
            rest = name.split(".")
        name = ".".join(rest).replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
        ours[f"backbone.{name}"] = value
    return ours


def test_torchvision_opens_an_encoder_strictly(run, tmp_path, monkeypatch):
    folder = exported(run[0], "torchvision", tmp_path / "out")
    with torch.no_grad():
        close(ran(shown(folder), folder, monkeypatch)["model"](IMAGES), run[1])


def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(finetuned, tmp_path, monkeypatch):
    folder = exported(finetuned[0], "torchvision", tmp_path / "out", "--license", "mit")
    with torch.no_grad():
        close(ran(shown(folder), folder, monkeypatch)["model"](IMAGES), finetuned[1])
    meta = json.loads((folder / "model.json").read_text())["meta"]
    assert meta == {"license": "mit", "categories": ["cat", "dog", "owl"]}


def test_the_weights_go_back_bit_for_bit(run, tmp_path):
    folder = exported(run[0], "torchvision", tmp_path / "out")
    again = back(torch.load(folder / "model.pth", weights_only=True))
    own = run[1].state_dict()
    assert again.keys() == own.keys() - {"mask_token"}
    assert all(torch.equal(again[name], own[name]) for name in again)


def test_images_are_made_ready_as_here(run, tmp_path, monkeypatch):
    folder = exported(run[0], "torchvision", tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(pixels).resize((300, 200), Image.Resampling.BICUBIC)
    ours = ssl_swin.load_encoder(run[0]).preprocess(image)[0]
    theirs = ran(shown(folder), folder, monkeypatch)["transform"](image)
    levels = (theirs - ours).abs() * 255 * torch.tensor(STD).view(-1, 1, 1)
    assert levels.max() < 1e-3  # both have Pillow resize


@pytest.mark.parametrize("sizes", [{"img_size": (32, 64)}, {"window_size": 8}, {"depths": (1, 1)}])
def test_other_sizes_go_along(tiny, tmp_path, monkeypatch, sizes):
    encoder = tiny(**sizes)
    write_encoder(
        tmp_path / "a.safetensors", encoder.state_dict(), EncoderCard.of(encoder, MEAN, STD)
    )
    folder = exported(tmp_path / "a.safetensors", "torchvision", tmp_path / "out")
    images = torch.randn(2, 3, *encoder.img_size)
    with torch.no_grad():
        close(ran(shown(folder), folder, monkeypatch)["model"](images), encoder, images=images)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"mixer": "mlp"}, "model.shift=padded"),
        ({"position": "both"}, "model.position=both"),
        ({"in_chans": 1}, "images of 1 channels, as data.mean has them"),
        ({"window_size": 5}, "which does not divide the 16 x 16 tokens of stage 1"),
        ({"window_size": (8, 4)}, "whose windows are 4 x 4 in stage 2, not 8 x 8"),
        ({"depths": (1,), "num_heads": (2,)}, "model.depths=[1], a single block"),
    ],
)
def test_what_torchvision_has_not_is_named(tiny, tmp_path, sizes, told):
    encoder = tiny(**sizes)
    num = encoder.in_chans
    card = EncoderCard.of(encoder, MEAN[:num], STD[:num])
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    assert told in misfit(open_handoff(str(tmp_path / "a.safetensors")))
