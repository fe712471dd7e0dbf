import torch

import ssl_swin
from ssl_swin.pretrained.card import read_encoder
from tests.pretrained.export.runs import IMAGES, close, exported, ran, shown
from tests.pretrained.runs import PIXELS


def test_an_encoder_is_the_same_again(run, tmp_path, monkeypatch):
    source, encoder = run
    folder = exported(source, "safetensors", tmp_path / "out")
    before, after = (read_encoder(one / "encoder.safetensors") for one in (source, folder))
    assert after.card == before.card
    assert after.state.keys() == before.state.keys()
    assert all(torch.equal(after.state[name], before.state[name]) for name in before.state)
    monkeypatch.setattr(ssl_swin.Preprocess, "__call__", lambda *_: IMAGES)
    names = ran(shown(folder), folder, monkeypatch)
    close(names["output"].detach(), encoder)


def test_so_is_a_classifier(finetuned, tmp_path):
    source, classifier = finetuned
    folder = exported(source, "safetensors", tmp_path / "out")
    again = ssl_swin.load_classifier(folder)
    assert again.classes == ("cat", "dog", "owl")
    state = again.classifier.state_dict()
    assert all(torch.equal(state[name], own) for name, own in classifier.state_dict().items())
    assert again.predict(PIXELS, top_k=1)[0].names[0] in again.classes
