import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ssl_swin.__main__ import run as command
from ssl_swin.pretrained.export.onnx import OPSET, check_installed
from tests.pretrained.export.runs import IMAGES, exported, ours, ran, shown


def test_an_encoder_runs_with_batches_of_any_size(run, tmp_path, monkeypatch):
    folder = exported(run[0], "onnx", tmp_path / "out")
    session = ran(shown(folder), folder, monkeypatch)["session"]
    for num in (1, 3):
        (found,) = session.run(["features"], {"images": IMAGES[:num].numpy()})
        np.testing.assert_allclose(found, ours(run[1], IMAGES[:num]).numpy(), rtol=0, atol=1e-4)
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import if not one.domain] == [OPSET]
    # where this code lies is nobody's business
    assert str(Path(__file__).parents[3]).encode() not in (folder / "model.onnx").read_bytes()


def test_a_classifier_gives_logits_and_says_what_it_is(finetuned, tmp_path):
    folder = exported(finetuned[0], "onnx", tmp_path / "out", "--license", "mit")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for num in (1, 3):
        (found,) = session.run(["logits"], {"images": IMAGES[:num].numpy()})
        expected = ours(finetuned[1], IMAGES[:num]).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map
    assert told["license"] == "mit"
    assert json.loads(told["classes"]) == ["cat", "dog", "owl"]
    assert json.loads(told["card"])["part"] == "classifier"
    assert json.loads(told["preprocessing"]) == {
        "resize_short_side": 71,
        "crop_size": [64, 64],
        "interpolation": "bicubic",
        "scale": 1 / 255,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
    }


def test_what_is_not_installed_is_named(run, tmp_path, monkeypatch, capsys):
    check_installed(("onnx",), "onnx")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    words = ["export", str(run[0]), "--format", "onnx", "-o", str(tmp_path / "out")]
    assert command(words) == 2
    told = capsys.readouterr().err
    assert "format=onnx needs onnxscript, which" in told
    assert "install ssl-swin[onnx]" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", [("nowhere",), ("nowhere", "neither")])
def test_all_that_is_missing_is_named_at_once(missing):
    with pytest.raises(ValueError, match=" and ".join(missing)):
        check_installed(missing, "onnx")
