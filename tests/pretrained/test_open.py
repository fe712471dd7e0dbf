import pytest
import timm
import torch

from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import load_encoder, load_into
from ssl_swin.pretrained.timm import from_timm, to_timm


@pytest.fixture
def written(tiny, tmp_path):
    encoder = tiny(seed=1)
    card = EncoderCard.of(encoder, (0.5,) * 3, (0.5,) * 3)
    write_encoder(tmp_path / "encoder.safetensors", encoder, card)
    return tmp_path, encoder


def outputs(encoder):
    with torch.no_grad():
        images = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64)
        return encoder.eval()(images, torch.eye(16).bool().unsqueeze(0))


@pytest.mark.parametrize("named", ["folder", "file"])
def test_an_encoder_comes_back_from_its_file_or_run_folder(tiny, written, named):
    folder, encoder = written
    state, card = load_encoder(folder if named == "folder" else folder / "encoder.safetensors")
    again = tiny(seed=2)
    assert load_into(again, state, card) == ()
    assert torch.equal(outputs(again), outputs(encoder))


def test_an_encoder_moves_to_another_image_size_and_window(tiny, written):
    state, card = load_encoder(written[0])
    larger = tiny(img_size=96, window_size=6, seed=2)
    load_into(larger, state, card)
    own = larger.state_dict()
    assert all(
        torch.equal(own[key], value) for key, value in state.items() if "position_bias" not in key
    )
    assert larger(torch.zeros(1, 3, 96, 96)).isfinite().all()


def test_only_the_mask_token_may_be_missing(tiny, written):
    state, card = load_encoder(written[0])
    encoder = tiny(seed=2)
    token = encoder.mask_token.detach().clone()
    del state["mask_token"]
    assert load_into(encoder, state, card) == ("mask_token",)
    assert torch.equal(encoder.mask_token, token)
    del state["backbone.norm.weight"]
    with pytest.raises(PretrainedMismatch, match=r"1 missing: backbone\.norm\.weight"):
        load_into(encoder, state, card)


def test_a_refused_encoder_is_left_as_it_was(tiny, written):
    state, card = load_encoder(written[0])
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
    state, card = load_encoder(written[0])
    with pytest.raises(PretrainedMismatch, match=told):
        load_into(tiny(**change), state, card)
    with pytest.raises(PretrainedMismatch, match="do not fit the model"):
        load_into(tiny(**change), state)


def test_what_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no encoder weights at"):
        load_encoder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"or an official \.pth"):
        load_encoder(tmp_path / "missing.pth")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(PretrainedMismatch, match="unknown kind"):
        load_encoder(tmp_path / "weights.bin")


@pytest.fixture
def theirs():
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=0,
        img_size=64,
        window_size=4,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    ).eval()


def test_timm_takes_our_weights_strictly(tiny, theirs):
    encoder = tiny().eval()
    theirs.load_state_dict(to_timm(encoder.state_dict()), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(images).permute(0, 2, 3, 1), theirs.forward_features(images))


def test_we_take_timms_weights(tiny, theirs):
    theirs.reset_classifier(10)
    encoder = tiny().eval()
    assert load_into(encoder, from_timm(theirs.state_dict())) == ("mask_token",)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(images).permute(0, 2, 3, 1), theirs.forward_features(images))
