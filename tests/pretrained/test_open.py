import numpy as np
import pytest
import safetensors.torch
import torch

from ssl_swin.models.encoder import ENCODERS
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import WEIGHT_FORMATS, find_weights, load_into, open_encoder
from ssl_swin.pretrained.timm import to_timm
from tests.toys.toy_encoder import ToyEncoder
from tests.toys.toy_foreign_format import read_toy


@pytest.fixture
def written(tiny, tmp_path):
    encoder = tiny(seed=1)
    card = EncoderCard.of(encoder, (0.5,) * 3, (0.5,) * 3)
    write_encoder(tmp_path / "encoder.safetensors", encoder.state_dict(), card)
    return tmp_path, encoder


def outputs(encoder):
    with torch.no_grad():
        images = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64)
        return encoder.eval()(images, torch.eye(16).bool().unsqueeze(0))


@pytest.mark.parametrize("named", ["folder", "file"])
def test_an_encoder_comes_back_from_its_file_or_run_folder(tiny, written, named):
    folder, encoder = written
    found = find_weights(folder if named == "folder" else folder / "encoder.safetensors")
    state, card = found.state, found.card
    again = tiny(seed=2)
    assert load_into(again, state, card).missing == ()
    assert torch.equal(outputs(again), outputs(encoder))


def test_an_encoder_moves_to_another_image_size_and_window(tiny, written):
    found = find_weights(written[0])
    state, card = found.state, found.card
    larger = tiny(img_size=96, window_size=6, seed=2)
    load_into(larger, state, card)
    own = larger.state_dict()
    assert all(
        torch.equal(own[key], value) for key, value in state.items() if "position_bias" not in key
    )
    assert larger(torch.zeros(1, 3, 96, 96)).isfinite().all()


def test_only_the_mask_token_may_be_missing(tiny, written):
    found = find_weights(written[0])
    state, card = found.state, found.card
    encoder = tiny(seed=2)
    token = encoder.mask_token.detach().clone()
    del state["mask_token"]
    assert load_into(encoder, state, card).missing == ("mask_token",)
    assert torch.equal(encoder.mask_token, token)
    del state["backbone.norm.weight"]
    with pytest.raises(PretrainedMismatch, match=r"1 missing: backbone\.norm\.weight"):
        load_into(encoder, state, card)


def test_a_refused_encoder_is_left_as_it_was(tiny, written):
    found = find_weights(written[0])
    state, card = found.state, found.card
    encoder = tiny(seed=2)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(PretrainedMismatch, match="1 unknown: surprise"):
        load_into(encoder, state | {"surprise": torch.zeros(1)}, card)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"embed_dim": 32}, "embed_dim is 32 in the model and 16 in the weights"),
        ({"depths": (2, 4)}, "depths is"),
        ({"in_chans": 1}, "in_chans is 1"),
        ({"patch_size": 2}, "patch_size is 2"),
    ],
)
def test_another_architecture_is_refused_with_and_without_a_card(tiny, written, change, told):
    found = find_weights(written[0])
    state, card = found.state, found.card
    with pytest.raises(PretrainedMismatch, match=told):
        load_into(tiny(**change), state, card)
    with pytest.raises(PretrainedMismatch, match="do not fit the model"):
        load_into(tiny(**change), state)


def test_what_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no encoder weights at"):
        find_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="alone or in a checkpoint"):
        find_weights(tmp_path / "missing.pth")
    (tmp_path / "weights.bin").write_bytes(b"")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, held in {
        "weights.bin": ", and it is empty; give",
        "other.pth": r": it holds 1 tensors, conv1\.weight; give",
        "other.safetensors": ": it holds 1 tensors, x; give",
    }.items():
        with pytest.raises(PretrainedMismatch, match=f"unknown kind{held} an encoder"):
            find_weights(tmp_path / name)


def test_an_open_encoder_has_its_weights_its_card_and_its_preprocessing(written):
    folder, encoder = written
    opened = open_encoder(folder)
    assert torch.equal(outputs(opened.encoder), outputs(encoder))
    assert (opened.img_size, opened.mean, opened.std) == ((64, 64), (0.5,) * 3, (0.5,) * 3)
    assert opened.card == find_weights(folder).card
    assert opened.report.missing == opened.report.resized == ()


def test_an_encoder_is_opened_at_another_image_size_and_window(written):
    opened = open_encoder(written[0], img_size=96, window_size=6, drop_path_rate=0.1)
    assert opened.img_size == (96, 96)
    assert set(opened.report.resized) == set(opened.encoder.position_tables())
    assert opened.encoder(torch.zeros(1, 3, 96, 96)).isfinite().all()


def test_changes_that_the_weights_do_not_allow_are_refused(written):
    with pytest.raises(PretrainedMismatch, match="embed_dim is 32 in the model and 16"):
        open_encoder(written[0], embed_dim=32)
    with pytest.raises(ValueError, match="has no depth"):
        open_encoder(written[0], depth=3)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"in_chans": 1},
        {"patch_size": 2, "img_size": 16},
        {"depths": (2, 1, 2), "num_heads": (1, 2, 4), "img_size": 48, "window_size": 12},
        {"depths": (1, 2, 1), "num_heads": (1, 2, 4), "img_size": 64, "window_size": (8, 2, 4)},
    ],
)
def test_weights_without_a_card_say_what_encoder_they_are_of(tiny, tmp_path, sizes):
    sizes = {"img_size": 32} | sizes  # the last stage is one window
    encoder = tiny(seed=1, **sizes)
    safetensors.torch.save_file(to_timm(encoder.state_dict()), tmp_path / "timm.safetensors")
    opened = open_encoder(tmp_path / "timm.safetensors")
    assert opened.encoder.architecture() == encoder.architecture()
    assert (opened.card, opened.report.missing, opened.report.resized) == (
        None,
        ("mask_token",),
        (),
    )
    known = encoder.in_chans == 3
    assert opened.mean == ((0.485, 0.456, 0.406) if known else None)
    images = torch.randn(1, encoder.in_chans, *encoder.img_size)
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(images), encoder.eval()(images))


def test_a_format_is_one_line_in_the_table(tiny, tmp_path, monkeypatch):
    encoder = tiny(img_size=32)
    np.savez(tmp_path / "w.npz", **to_timm(encoder.state_dict()))
    with pytest.raises(PretrainedMismatch, match="unknown kind"):
        open_encoder(tmp_path / "w.npz")
    monkeypatch.setitem(WEIGHT_FORMATS, "toy", read_toy)
    opened = open_encoder(tmp_path / "w.npz", img_size=64)
    assert opened.report.missing == ("mask_token",)
    state = opened.encoder.state_dict()
    assert all(
        torch.equal(state[key], value)
        for key, value in encoder.state_dict().items()
        if key != "mask_token"
    )


def test_an_encoder_of_another_kind_goes_through_its_file(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
    encoder = ToyEncoder(img_size=32, patch_size=2).eval()
    card = EncoderCard.of(encoder, (0.5,) * 3, (0.5,) * 3)
    write_encoder(tmp_path / "encoder.safetensors", encoder.state_dict(), card)
    opened = open_encoder(tmp_path, img_size=16)
    images = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(images), encoder(images))
    found = find_weights(tmp_path)
    state, card = found.state, found.card
    del state["hidden"]
    assert load_into(ToyEncoder(patch_size=2), state, card).missing == ("hidden",)
    with pytest.raises(PretrainedMismatch, match="patch_size is 4 in the model and 2"):
        load_into(ToyEncoder(), state, card)
