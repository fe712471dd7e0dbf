"""Swin V2 in every format: opened there with the same features, and back bit for bit."""

import json
import sys
from pathlib import Path
from types import ModuleType

import onnxruntime
import pytest
import torch
import yaml
from transformers import Swinv2ForImageClassification, Swinv2Model

import ssl_swin
from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.pretrained.export.formats import EXPORT_FORMATS
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.open import open_encoder
from tests.pretrained.export.runs import IMAGES, close, exported, ours, ran, shown
from tests.pretrained.runs import MEAN, STD
from tests.pretrained.version2 import shaken, v2

# Windows that all libraries have: one size, smaller nowhere, and the scale of pretraining.
EVERYWHERE = {"window_size": 4}
# The second stage is one window of 8; and windows other than those of pretraining.
SHRUNK = {"window_size": 16}
MOVED = {"window_size": 8, "pretrained_window_sizes": (6, 4)}


@pytest.fixture
def encoder_of(tmp_path):
    def made(**change):
        encoder, file = v2(**change), tmp_path / "a.safetensors"
        num = encoder.in_chans
        write_encoder(file, encoder.state_dict(), EncoderCard.of(encoder, MEAN[:num], STD[:num]))
        return file, encoder

    return made


@pytest.fixture
def classifier(tmp_path):
    classifier = shaken(Classifier(v2(**EVERYWHERE), 3))
    sizes = classifier.encoder.architecture()
    card = ClassifierCard(sizes, ("cat", "dog", "owl"), MEAN, STD, 64)
    write_classifier(tmp_path / "c.safetensors", classifier.state_dict(), card)
    return tmp_path / "c.safetensors", classifier


def back(folder, encoder, name):
    """Open the files of a format here: all is as it was, but the mask token where it is lost.

    torchvision does not say how large images are.
    """
    again = open_encoder(folder).encoder
    own, expected = again.state_dict(), encoder.state_dict()
    names = own.keys() - ({"mask_token"} if name != "official" else set())
    assert all(torch.equal(own[one], expected[one]) for one in names)
    free = {"name": ""} | ({"img_size": 0} if name == "torchvision" else {})
    assert again.architecture() | free == encoder.architecture() | free


FILES = {"torchvision": "model.pth", "official": "checkpoint.pth", "safetensors": ""}


@pytest.mark.parametrize("sizes", [EVERYWHERE, SHRUNK, MOVED], ids=str)
@pytest.mark.parametrize("name", ["timm", "hf", "torchvision", "safetensors"])
def test_it_comes_back_bit_for_bit(encoder_of, tmp_path, name, sizes):
    file, encoder = encoder_of(**sizes)
    if misfit := EXPORT_FORMATS[name].misfit(open_handoff(str(file))):
        assert name == "torchvision"
        assert misfit.startswith("model.window_size" if sizes is SHRUNK else "model.pretrained_wi")
        return
    folder = exported(file, name, tmp_path / "out")
    back(folder / FILES.get(name, ""), encoder, name)


def test_official_names_come_back_bit_for_bit_with_windows_told(encoder_of, tmp_path):
    """By its YAML, and by coordinates beside the weights, where its own checkpoints have them."""
    file, encoder = encoder_of(**MOVED)
    folder = exported(file, "official", tmp_path / "out")
    config = yaml.safe_load((folder / "config.yaml").read_text())["MODEL"]
    assert config["TYPE"] == "swinv2"
    assert config["SWINV2"]["PRETRAINED_WINDOW_SIZES"] == [6, 4]
    assert config["SWINV2"]["WINDOW_SIZE"] == 8
    back(folder / "checkpoint.pth", encoder, "official")


def test_timm_opens_it(encoder_of, tmp_path, monkeypatch):
    file, encoder = encoder_of(img_size=(64, 64), **MOVED)
    folder = exported(file, "timm", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        close(model(IMAGES), encoder)


def test_timm_opens_windows_of_two_sides(encoder_of, tmp_path, monkeypatch):
    file, encoder = encoder_of(img_size=(64, 96), window_size=((4, 6), (2, 3)))
    folder = exported(file, "timm", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        close(model(images), encoder, images=images)


@pytest.mark.parametrize("sizes", [SHRUNK, MOVED, {"in_chans": 1}], ids=str)
def test_transformers_opens_it(encoder_of, tmp_path, monkeypatch, sizes):
    file, encoder = encoder_of(**sizes)
    folder = exported(file, "hf", tmp_path / "out")
    model, told = Swinv2Model.from_pretrained(folder, output_loading_info=True)
    assert not any(told[one] for one in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(ran(shown(folder), folder, monkeypatch)["model"]) is Swinv2Model
    images = IMAGES[:, : encoder.in_chans]
    with torch.no_grad():
        close(model.eval()(images).pooler_output, encoder, images=images)


def test_torchvision_opens_it(encoder_of, tmp_path, monkeypatch):
    file, encoder = encoder_of(**EVERYWHERE)
    folder = exported(file, "torchvision", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        close(model(IMAGES), encoder)


def test_every_library_opens_a_classifier(classifier, tmp_path, monkeypatch):
    file, network = classifier
    for name in ("timm", "hf", "torchvision"):
        folder = exported(file, name, tmp_path / name)
        model = ran(shown(folder), folder, monkeypatch)["model"]
        with torch.no_grad():
            found = model(IMAGES)
        close(getattr(found, "logits", found), network)
    told = json.loads((tmp_path / "hf/config.json").read_text())
    assert told["architectures"] == [Swinv2ForImageClassification.__name__]
    again = ssl_swin.load_classifier(exported(file, "safetensors", tmp_path / "ours"))
    assert torch.equal(again(IMAGES), network(IMAGES))


def test_its_code_is_called_as_the_official_code_is(encoder_of, tmp_path, monkeypatch):
    """That is no package, so the names that are imported stand for it, and are held to the page."""
    file, _ = encoder_of(**SHRUNK)
    folder, asked = exported(file, "official", tmp_path / "out"), {}

    class Config(dict):
        __getattr__ = dict.__getitem__

    def merged(path):
        found = yaml.safe_load(Path(path).read_text())
        config.update(MODEL=Config(SWINV2=found["MODEL"]["SWINV2"]), DATA=Config(IMG_SIZE=64))

    class SwinTransformerV2(torch.nn.Module):
        def __init__(self, **sizes):
            super().__init__()
            asked.update(sizes)

    config = Config(merge_from_file=merged)
    modules = {"config": {"_C": config}, "models": {}}
    modules["models.swin_transformer_v2"] = {"SwinTransformerV2": SwinTransformerV2}
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    ran(shown(folder), folder, monkeypatch)
    assert asked["pretrained_window_sizes"] == [0, 0]
    assert asked["window_size"] == 16
    assert asked["num_classes"] == 0


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is (deprecated|not supported)")
def test_onnx_and_torchscript_compute_it(encoder_of, tmp_path):
    file, encoder = encoder_of(**MOVED)
    model = torch.jit.load(exported(file, "torchscript", tmp_path / "script") / "model.pt")
    with torch.no_grad():
        for num in (1, 3):
            close(model(IMAGES[:num]), encoder, images=IMAGES[:num])
    folder = exported(file, "onnx", tmp_path / "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for num in (1, 3):
        (found,) = session.run(["features"], {"images": IMAGES[:num].numpy()})
        expected = ours(encoder, IMAGES[:num])
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "sizes", "told"),
    [
        ("torchvision", SHRUNK, "model.window_size=16, whose windows are 8 x 8 in stage 2"),
        ("torchvision", MOVED, "model.pretrained_window_sizes=[6, 4]"),
        ("hf", {"pretrained_window_sizes": ((6, 4), 8)}, "model.pretrained_window_sizes="),
        ("official", {"pretrained_window_sizes": 1}, "model.pretrained_window_sizes=[1, 1]"),
        ("official", {"window_size": 5}, "which does not divide"),
        ("hf", {"window_size": (8, 4)}, "whose windows are 4 x 4 in stage 2, not 8 x 8"),
        ("timm", {"position": "both"}, "model.position=both"),
        ("hf", {"position": "none"}, "model.position=none"),
    ],
)
def test_what_a_library_has_not_is_named(encoder_of, name, sizes, told):
    file, _ = encoder_of(**sizes)
    assert told in EXPORT_FORMATS[name].misfit(open_handoff(str(file)))
