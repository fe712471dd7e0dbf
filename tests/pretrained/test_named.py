import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from ssl_swin.errors import MachineError, UserError
from ssl_swin.pretrained import named
from ssl_swin.pretrained.load import load_encoder
from ssl_swin.pretrained.official import to_official
from ssl_swin.record.run_folder import RunFolder
from tests.pretrained.timm_cache import fill, without_network

NAME = "vit_tiny_patch16_224"
TAG = "augreg_in21k_ft_in1k"  # of timm's weights where none is named
HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    without_network(monkeypatch, tmp_path)
    return tmp_path


@pytest.mark.parametrize("word", [f"timm:{NAME}", f"timm:{NAME}.{TAG}", NAME, "FILE"])
def test_weights_that_timm_has_are_found_by_name_and_described_without_them(cache, word):
    model, file = fill(cache, NAME)
    word = f"timm:{NAME}:{file}" if word == "FILE" else word
    torch.manual_seed(3)
    found, drawn = named.find_any(word), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))  # what is built after it begins as without it
    state = model.state_dict()
    for key, value in found.state.items():
        assert torch.equal(value, state[key.removeprefix("backbone.")]), key
    assert {key for key in state if not key.startswith("head")} == {
        key.removeprefix("backbone.") for key in found.state
    }
    told = f"timm's {NAME}, weights of {file}" if word.endswith(str(file)) else f"{NAME}.{TAG}"
    assert told in found.report.kind
    sizes = named.find_sizes(word)
    assert (sizes.architecture, sizes.mean) == (found.architecture, HALF)
    assert named.colours_of(word) == (HALF, HALF)
    assert named.file_of(word) == file
    assert named.is_there(word)
    assert named.card_of(word) is None
    place = file if word.endswith(str(file)) else Path(word.removeprefix("timm:"))
    assert named.place_of(word) == place


@pytest.mark.usefixtures("cache")
def test_sizes_are_found_before_weights_can_be_had_and_then_it_is_the_machines_fault():
    assert named.find_sizes(f"timm:{NAME}").architecture["embed_dim"] == 192
    assert named.file_of(f"timm:{NAME}") is None
    for word in (f"timm:{NAME}", NAME):
        with pytest.raises(MachineError, match=f"of timm's {NAME} are not in its cache and"):
            named.find_any(word)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("timm:", "timm: names no model; give timm:NAME or timm:NAME:FILE"),
        ("timm:resnet18", "timm:resnet18 is a model of timm for which there is no encoder here: "),
        ("timm:resnet_18", r"none of timm's \d+ models, give another: the nearest are resnet18"),
        (f"timm:{NAME}.no", f"timm has no weights of {NAME}.no; it has {NAME}.augreg_in21k, "),
        ("timm:swinv2_cr_giant_224", "for which there is no encoder here"),
        ("timm:vit_tiny_patch16_384.augreg", "timm has no weights of vit_tiny_patch16_384.augreg"),
        (f"timm:{NAME}:/no/file", "/no/file: there is no such file; give weights of timm's"),
    ],
)
def test_what_is_no_encoder_is_refused_in_one_line_without_looking_for_weights(word, told):
    for find in (named.find_any, named.find_sizes):
        with pytest.raises(UserError, match=told) as caught:
            find(word)
        assert "\n" not in str(caught.value)


def test_a_word_that_is_neither_name_nor_file_is_told_what_it_is_like():
    for find in (named.find_any, named.find_sizes):
        with pytest.raises(FileNotFoundError, match=r"is not there; give.*nearest vit_tiny_patch"):
            find("vit_tiny_patch16_22")


def test_a_file_of_the_same_name_comes_before_timm(run, monkeypatch):
    folder, encoder = run
    monkeypatch.chdir(folder)
    RunFolder(folder).encoder.rename(NAME)
    (folder / "s").mkdir()
    Path(NAME).rename(folder / "s" / "encoder.safetensors")
    (folder / "s").rename(NAME)
    assert named.file_of(NAME) == Path(NAME, "encoder.safetensors")
    found = named.find_any(NAME)
    assert torch.equal(found.state["mask_token"], encoder.mask_token)
    assert named.card_of(NAME) == named.find_sizes(NAME).card == found.card


def test_a_file_of_another_model_of_timms_does_not_fit(tmp_path):
    model = timm.create_model(NAME, num_classes=0, depth=1)
    torch.save(model.state_dict(), tmp_path / "less.pth")
    with pytest.raises(UserError, match=re.escape(f"less.pth does not fit timm's {NAME}")):
        named.find_any(f"timm:{NAME}:{tmp_path / 'less.pth'}")


def test_mean_and_deviation_are_known_where_somebody_says_them(run, tmp_path):
    _, encoder = run
    assert named.colours_of("no/such/file") is None
    bare = tmp_path / "bare" / "model.safetensors"
    bare.parent.mkdir()
    safetensors.torch.save_file(to_official(encoder.state_dict()), bare)
    assert named.colours_of(bare) is None
    said = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    bare.with_name("config.json").write_text(json.dumps(said))
    assert named.colours_of(bare.parent) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    bare.with_name("config.json").write_text('{"model_type": "swin"}')
    assert named.colours_of(bare) is None
    beside = {"image_mean": [0.5], "image_std": [0.25]}
    bare.with_name("preprocessor_config.json").write_text(json.dumps(beside))
    assert named.colours_of(bare) == ((0.5,), (0.25,))


def test_an_encoder_in_python_has_them_too(cache):
    fill(cache, NAME)
    encoder = load_encoder(f"timm:{NAME}", img_size=32)
    assert encoder.preprocess.mean == HALF
