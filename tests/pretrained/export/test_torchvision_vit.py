import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.torchvision_vit import misfit
from ssl_swin.pretrained.open import open_encoder
from tests.pretrained.export.runs import exported, ran, shown
from tests.pretrained.runs import MEAN, STD
from tests.pretrained.vits import IMAGES, TUNED, vit, written


def test_torchvision_opens_an_encoder_strictly_and_it_comes_back(tmp_path, monkeypatch):
    encoder = vit()
    source = written(encoder, tmp_path / "a.safetensors")
    folder = exported(source, "torchvision", tmp_path / "out")
    names = ran(shown(folder), folder, monkeypatch)
    with torch.no_grad():
        expected = encoder(IMAGES).mean((2, 3))
        torch.testing.assert_close(names["features"](IMAGES), expected, rtol=0, atol=1e-5)
    assert names["model"](IMAGES).shape == (2, 128)
    own = open_encoder(folder / "model.pth").encoder.state_dict()
    for name, value in encoder.state_dict().items():
        assert name == "mask_token" or torch.equal(own[name], value), name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (TUNED, "model.position=relative"),
        ({"class_token": False}, "model.class_token=False"),
        ({"init_values": 0.1}, "model.init_values=0.1"),
        ({"norm_eps": 1e-12}, "model.norm_eps=1e-12"),
        ({"img_size": (64, 32)}, "model.img_size=64 x 32, no square"),
        ({"in_chans": 1}, "images of 1 channels"),
    ],
)
def test_what_torchvision_has_not_is_named(tmp_path, changes, told):
    source = written(vit(**changes), tmp_path / "a.safetensors")
    assert misfit(open_handoff(str(source))).startswith(told)


def test_a_head_on_the_mean_is_none_of_torchvisions(tmp_path):
    classifier = Classifier(vit(), 3)
    card = ClassifierCard(classifier.encoder.architecture(), ("a", "b", "c"), MEAN, STD, 64)
    write_classifier(tmp_path / "classifier.safetensors", classifier.state_dict(), card)
    told = misfit(open_handoff(str(tmp_path / "classifier.safetensors")))
    assert told.startswith("a head on the mean over positions")
