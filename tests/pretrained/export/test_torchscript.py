import json

import pytest
import torch

from ssl_swin.pretrained.card import EncoderCard, write_encoder
from tests.pretrained.export.runs import IMAGES, close, exported, ran, shown
from tests.pretrained.runs import MEAN, STD

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is (deprecated|not supported)")


def test_an_encoder_runs_with_batches_of_any_size(run, tmp_path, monkeypatch):
    folder = exported(run[0], "torchscript", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        for num in (1, 2, 3):
            close(model(IMAGES[:num]), run[1], images=IMAGES[:num])


@pytest.mark.parametrize(
    "sizes",
    [
        {"window_size": 5},
        {"mixer": "mlp"},
        {"position": "both"},
        {"shift": "padded", "in_chans": 1},
    ],
)
def test_so_does_what_no_library_has(tiny, tmp_path, monkeypatch, sizes):
    encoder = tiny(**sizes).eval()
    num = encoder.in_chans
    card = EncoderCard.of(encoder, MEAN[:num], STD[:num])
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    folder = exported(tmp_path / "a.safetensors", "torchscript", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        close(model(IMAGES[:, :num]), encoder, images=IMAGES[:, :num])


def test_a_classifier_gives_logits_and_says_what_it_is(finetuned, tmp_path):
    folder = exported(finetuned[0], "torchscript", tmp_path / "out", "--license", "mit")
    told = dict.fromkeys(["license", "classes", "preprocessing", "card"], "")
    model = torch.jit.load(folder / "model.pt", _extra_files=told)
    with torch.no_grad():
        close(model(IMAGES), finetuned[1])
    assert json.loads(told["classes"]) == ["cat", "dog", "owl"]
    assert json.loads(told["preprocessing"])["resize_short_side"] == 71
    assert told["license"] in ("mit", b"mit")
