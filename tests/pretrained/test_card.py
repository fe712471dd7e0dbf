import dataclasses
import json
import os

import pytest
import safetensors.torch
import torch

from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.card import EncoderCard, read_encoder, write_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def card(tiny):
    return EncoderCard.of(
        tiny(), MEAN, STD, mask_patch_size=16, mask_ratio=0.6, samples_seen=1234, epoch=2
    )


def test_what_is_written_is_read(tiny, card, tmp_path):
    encoder = tiny()
    write_encoder(tmp_path / "encoder.safetensors", encoder.state_dict(), card)
    weights = read_encoder(tmp_path / "encoder.safetensors")
    state = weights.state
    assert (weights.card, weights.mean, weights.std) == (card, MEAN, STD)
    assert list(state) == sorted(encoder.state_dict())
    for key, tensor in encoder.state_dict().items():
        assert torch.equal(state[key], tensor)


@pytest.mark.parametrize("change", [{}, {"img_size": (64, 96)}, {"window_size": (4, 8)}])
def test_the_card_rebuilds_the_encoder(tiny, tmp_path, change):
    encoder = tiny(**change)
    write_encoder(
        tmp_path / "e.safetensors", encoder.state_dict(), EncoderCard.of(encoder, MEAN, STD)
    )
    weights = read_encoder(tmp_path / "e.safetensors")
    rebuilt = build_encoder(**weights.architecture)
    rebuilt.load_state_dict(weights.state)
    assert rebuilt.architecture() == encoder.architecture()


def test_the_same_encoder_is_the_same_file(tiny, card, tmp_path, monkeypatch):
    """Whatever order the library writes what is said in."""
    path, encoder, save = tmp_path / "encoder.safetensors", tiny(), safetensors.torch.save
    files = []
    for order in (1, -1):

        def ordered(state, about, order=order):
            content = save(state, about)
            end = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(content[8:end])
            header["__metadata__"] = dict(sorted(about.items())[::order])
            text = json.dumps(header, separators=(",", ":")).encode()
            return content[:8] + text.ljust(end - 8) + content[end:]

        monkeypatch.setattr(safetensors.torch, "save", ordered)
        write_encoder(path, encoder.state_dict(), card)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert read_encoder(path).card == card


def test_the_card_beside_the_weights_says_the_same(tiny, card, tmp_path):
    write_encoder(tmp_path / "encoder.safetensors", tiny().state_dict(), card)
    beside = json.loads((tmp_path / "encoder.json").read_text())
    assert beside["samples_seen"] == 1234
    assert EncoderCard.from_json(json.dumps(beside)) == card


def test_a_write_cut_short_leaves_the_former_file(tiny, card, tmp_path, monkeypatch):
    path = tmp_path / "encoder.safetensors"
    write_encoder(path, tiny(seed=1).state_dict(), card)
    before = path.read_bytes()

    def cut(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(OSError, match="no space left"):
        write_encoder(path, tiny(seed=2).state_dict(), card)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "encoder.json",
        "encoder.safetensors",
    ]


def test_a_card_of_the_first_version_is_read(card):
    repeated = {"img_size": [64, 64], "window_size": 4, "patch_size": 4, "in_chans": 3}
    old = json.loads(card.to_json()) | repeated | {"format_version": 1}
    assert EncoderCard.from_json(json.dumps(old)) == card
    assert not repeated.keys() & json.loads(card.to_json()).keys()


def test_a_card_of_another_version_is_refused(card):
    newer = dataclasses.replace(card, format_version=99)
    with pytest.raises(PretrainedMismatch, match="format_version=99"):
        EncoderCard.from_json(newer.to_json())


def test_a_card_with_a_missing_or_unknown_field_is_refused(card):
    values = json.loads(card.to_json())
    with pytest.raises(PretrainedMismatch, match="surprise"):
        EncoderCard.from_json(json.dumps(values | {"surprise": 1}))
    del values["mean"]
    with pytest.raises(PretrainedMismatch, match="mean"):
        EncoderCard.from_json(json.dumps(values))


def test_weights_without_a_card_are_not_ours_and_damaged_ones_are_refused(tiny, card, tmp_path):
    bare = tmp_path / "bare.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, bare)
    assert read_encoder(bare) is None
    whole = tmp_path / "encoder.safetensors"
    write_encoder(whole, tiny().state_dict(), card)
    whole.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(PretrainedMismatch, match="not a complete safetensors file"):
        read_encoder(whole)
