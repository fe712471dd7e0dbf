from pathlib import Path

import pytest
import torch
import yaml

import ssl_swin
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.official import misfit
from ssl_swin.pretrained.official import from_official, to_official
from ssl_swin.pretrained.open import find_weights
from ssl_swin.pretrained.tensors import read_tensors
from tests.pretrained.export.runs import exported
from tests.pretrained.runs import MEAN, STD


def test_the_weights_go_back_bit_for_bit_mask_token_and_all(run, tmp_path):
    folder = exported(run[0], "official", tmp_path / "out")
    own = run[1].state_dict()
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    again = from_official(state)
    assert again.keys() == own.keys()
    assert all(torch.equal(again[name], own[name]) for name in own)
    found = find_weights(folder / "checkpoint.pth")
    assert found.told.startswith("official Swin")
    assert all(torch.equal(found.state[name], own[name]) for name in own)
    assert ssl_swin.load_encoder(folder / "checkpoint.pth").encoder.depths == (2, 2)


def test_down_sampling_is_counted_to_the_stage_it_leaves(tiny):
    own = tiny(depths=(1, 1, 1), num_heads=(1, 2, 4)).state_dict()
    theirs = to_official(own)
    assert "layers.0.downsample.norm.weight" in theirs
    assert not any(name.startswith("layers.2.downsample") for name in theirs)
    assert list(from_official(theirs)) == list(own)


def test_a_classifier_has_its_head_where_the_official_code_has_it(finetuned, tmp_path):
    folder = exported(finetuned[0], "official", tmp_path / "out")
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    assert torch.equal(state["head.weight"], finetuned[1].head.weight)
    assert torch.equal(state["head.bias"], finetuned[1].head.bias)
    assert yaml.safe_load((folder / "config.yaml").read_text())["MODEL"]["NUM_CLASSES"] == 3


def test_the_settings_are_those_of_its_yaml(run, tmp_path):
    config = yaml.safe_load(
        (exported(run[0], "official", tmp_path / "a") / "config.yaml").read_text()
    )
    assert config["DATA"] == {"IMG_SIZE": 64, "INTERPOLATION": "bicubic"}
    assert config["MODEL"]["SWIN"] == {
        "PATCH_SIZE": 4,
        "IN_CHANS": 3,
        "EMBED_DIM": 16,
        "DEPTHS": [2, 2],
        "NUM_HEADS": [2, 4],
        "WINDOW_SIZE": 4,
        "APE": False,
    }


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"window_size": 16}, ""),  # the second stage is one window
        ({"window_size": (16, 8)}, ""),  # likewise
        ({"position": "both"}, ""),
        ({"in_chans": 1}, ""),
        ({"window_size": (8, 4)}, "whose windows are 4 x 4 in stage 2, not 8 x 8"),
        ({"window_size": 5}, "which does not divide"),
        ({"img_size": (64, 128)}, "model.img_size=64 x 128, no square"),
        ({"padding": "masked", "window_size": 5}, "model.padding=masked"),
        ({"position": "none"}, "model.position=none"),
    ],
)
def test_what_the_official_code_has_not_is_named(tiny, tmp_path, sizes, told):
    encoder = tiny(**sizes)
    num = encoder.in_chans
    card = EncoderCard.of(encoder, MEAN[:num], STD[:num])
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    found = misfit(open_handoff(str(tmp_path / "a.safetensors")))
    assert (told in found) if told else found == ""


def test_what_the_official_code_wrote_is_written_again(tmp_path):
    """Names and numbers of a checkpoint of SimMIM, but for buffers, decoder and optimiser."""
    golden = Path(__file__).parents[2] / "golden/ckpt_epoch_99.pth"
    theirs = {
        name.partition("encoder.")[2]: value
        for name, value in read_tensors(golden).items()
        if "encoder." in name and not name.endswith(("attn_mask", "relative_position_index"))
    }
    folder = exported(golden, "official", tmp_path / "out")
    ours = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
