import json

import pytest
import torch
from transformers import AutoImageProcessor, BeitForImageClassification, BeitModel, ViTModel

from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.huggingface_vit import misfit
from ssl_swin.pretrained.open import open_encoder
from tests.pretrained.export.runs import exported, ran, shown
from tests.pretrained.runs import MEAN, STD
from tests.pretrained.vits import PRETRAINED, TUNED, moved, vit, written


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"norm_eps": 1e-12}, ViTModel),
        ({"img_size": (64, 32), "in_chans": 1}, ViTModel),
        (PRETRAINED, BeitModel),
        (TUNED, BeitModel),
        ({"position": "both", "qkv_bias": "qv", "fc_norm": True}, BeitModel),
    ],
)
def test_transformers_opens_an_encoder_and_it_comes_back(tmp_path, monkeypatch, changes, kind):
    encoder = vit(**changes)
    folder = exported(written(encoder, tmp_path / "a.safetensors"), "hf", tmp_path / "out")
    _, told = kind.from_pretrained(
        folder, output_loading_info=True, **({} if encoder.sizes["fc_norm"] else NO_POOLER)
    )
    assert not any(told.values())
    model = ran(shown(folder), folder, monkeypatch)["model"]
    assert type(model) is kind
    images = torch.randn(2, encoder.in_chans, *encoder.img_size)
    with torch.no_grad():
        found, expected = model(images), encoder.pool(encoder(images))
    vectors = found.last_hidden_state[:, 1:].mean(1)
    vectors = found.pooler_output if encoder.sizes["fc_norm"] else vectors
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
    again = open_encoder(folder).encoder
    assert again.architecture() == encoder.architecture() | {"name": again.name}
    own = again.state_dict()
    for name, value in encoder.state_dict().items():
        assert name == "mask_token" or torch.equal(own[name], value), name


NO_POOLER = {"add_pooling_layer": False}


def test_a_classifier_that_norms_the_mean_keeps_its_head(tmp_path, monkeypatch):
    classifier = moved(Classifier(vit(**TUNED), 3)).eval()
    sizes = classifier.encoder.architecture()
    card = ClassifierCard(sizes, ("cat", "dog", "owl"), MEAN, STD, 64)
    write_classifier(tmp_path / "classifier.safetensors", classifier.state_dict(), card)
    folder = exported(tmp_path / "classifier.safetensors", "hf", tmp_path / "out")
    _, told = BeitForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    model, images = ran(shown(folder), folder, monkeypatch)["model"], torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, classifier(images), rtol=0, atol=1e-5)
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "owl"}
    assert AutoImageProcessor.from_pretrained(folder).crop_size["height"] == 64


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_token": False}, "model.class_token=False"),
        ({"qkv_bias": "none"}, "model.qkv_bias=none"),
        ({"position": "relative"}, "model.position=relative with model.qkv_bias=qkv"),
        ({"init_values": 0.1}, "model.init_values=0.1 with model.qkv_bias=qkv"),
        ({"fc_norm": True}, "model.fc_norm=True with model.qkv_bias=qkv"),
        ({**TUNED, "img_size": (64, 32)}, "img_size=64 x 32 with model.position=relative"),
    ],
)
def test_what_transformers_has_not_is_named(tmp_path, changes, told):
    source = written(vit(**changes), tmp_path / "a.safetensors")
    assert told in misfit(open_handoff(str(source)))


def test_settings_are_those_of_published_models(tmp_path):
    source = written(vit(**PRETRAINED), tmp_path / "a.safetensors")
    config = json.loads((exported(source, "hf", tmp_path / "out") / "config.json").read_text())
    assert config["architectures"] == ["BeitModel"]
    assert config["use_shared_relative_position_bias"]
    assert config["layer_scale_init_value"] == 0.1
    assert "- vit" in (tmp_path / "out" / "README.md").read_text()
