import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from ssl_swin.config.data import IMAGENET_MEAN, IMAGENET_STD
from ssl_swin.config.settings import flatten
from ssl_swin.errors import UserError
from ssl_swin.runs.encoder_numbers import with_its_numbers
from ssl_swin.runs.from_encoder import with_its_model
from tests.runs.test_from_encoder import config

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def encoder(trained):
    """A run folder that holds an encoder of grey images."""
    return trained[1]


def stored(begun):
    """What a checkpoint says of a run."""
    return {"config": flatten(begun)}


@pytest.fixture
def beside(tmp_path):
    """A file of no encoder beside which a mean and a deviation stand, as timm writes them."""
    folder = tmp_path / "timms"
    folder.mkdir()
    safetensors.torch.save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    said = {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    (folder / "config.json").write_text(json.dumps(said))
    return str(folder)


@pytest.mark.parametrize("named", ["timm:vit_tiny_patch16_224.augreg_in21k", "beside"])
def test_colours_of_weights_without_a_card_are_taken_or_told(named, beside):
    source = beside if named == "beside" else named
    found, (line,) = with_its_numbers(config(source), {"data.shards"}, None)
    assert (found.data.mean, found.data.std) == (HALF, HALF)
    assert line == f"data.mean={HALF} and data.std={HALF}, as {source} was trained with"
    assert with_its_numbers(config(source, mean=HALF, std=HALF), (), None)[1] == ()
    own = config(source, mean=(0.1, 0.2, 0.3))
    kept, (line,) = with_its_numbers(own, (), None)
    assert kept == own
    assert line.endswith(f"are kept, though {source} was trained with {HALF} and {HALF}")
    kept, (line,) = with_its_numbers(config(source), {"data.mean"}, None)  # ImageNet's, by name
    assert (kept, "are kept" in line) == (config(source), True)
    grey = replace(config(source, mean=(0.5,), std=(0.5,)), encoder_channels="average")
    assert with_its_numbers(grey, (), None) == (grey, ())
    # A run that goes on keeps its own and asks nobody.
    assert with_its_numbers(config(source), (), stored(found)) == (found, ())


def test_colours_that_the_user_does_not_name_are_the_encoders(encoder):
    asked = config(encoder)
    found, (line,) = with_its_numbers(asked, {"data.shards"}, None)
    assert (found.data.mean, found.data.std) == ((0.286,), (0.353,))
    assert line.startswith("data.mean=(0.286,) and data.std=(0.353,), as the encoder")
    # The run that goes on keeps its own, whatever became of the file.
    shutil.rmtree(encoder)
    assert with_its_numbers(asked, (), stored(found)) == (found, ())
    assert with_its_numbers(asked, (), stored(asked)) == (asked, ())


def test_other_colours_than_the_encoders_are_refused(encoder):
    said = r"data.std=\(0.5,\), but the encoder was trained with \(0.286,\) and \(0.353,\): leave"
    with pytest.raises(UserError, match=said):
        with_its_numbers(config(encoder, mean=(0.286,), std=(0.5,)), (), None)
    for given in ("data.mean", "data"):  # ImageNet's, by name
        with pytest.raises(UserError, match="leave both out"):
            with_its_numbers(config(encoder), {given}, None)
    same = config(encoder, mean=(0.286,), std=(0.353,))
    assert with_its_numbers(same, {"data"}, None) == (same, ())


def test_what_needs_rgb_says_so_of_a_grey_encoder(encoder):
    with pytest.raises(UserError, match="rand_augment='rand-m1' needs RGB images"):
        with_its_numbers(config(encoder, rand_augment="rand-m1"), (), None)


def test_weights_without_a_card_and_none_at_all_leave_colours_alone(tmp_path):
    torch.save({"model": {}}, tmp_path / "official.pth")
    for place in (tmp_path / "official.pth", tmp_path / "nowhere", None):
        for colours in ({}, {"mean": (0.5,), "std": (0.25,)}):
            asked = config(place, **colours)
            assert with_its_numbers(asked, (), None) == (asked, ())
    assert (config(None).data.mean, config(None).data.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_a_rule_for_channels_has_no_effect_where_there_are_as_many(encoder):
    grey = config(encoder, mean=(0.286,), std=(0.353,))
    _, plain = with_its_model(grey, ())
    _, notes = with_its_model(replace(grey, encoder_channels="repeat"), ())
    line = (
        "warning: without effect, so leave it out: encoder_channels=repeat beside an encoder of 1 "
    )
    assert notes == (*plain, f"{line}channels, as the images")
