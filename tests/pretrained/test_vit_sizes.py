import pytest
import timm
import torch

from ssl_swin.models.encoder import ENCODERS, build_encoder
from ssl_swin.models.vit import ViTEncoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import open_encoder
from ssl_swin.pretrained.vit_sizes import is_vit, told_of_heads, vit_sizes_of
from tests.pretrained.vits import PRETRAINED, TUNED, vit


@pytest.mark.parametrize("name", [n for n, kind in ENCODERS.items() if kind is ViTEncoder])
def test_the_shapes_of_timms_own_vits_say_what_they_are(name):
    img_size = timm.get_pretrained_cfg(name).input_size[-1]
    with torch.device("meta"):
        encoder = build_encoder(name, img_size, 3)
        sizes = vit_sizes_of(encoder.state_dict(), {})
    own = encoder.architecture()
    expected = {key: tuple(one) if isinstance(one, list) else one for key, one in own.items()}
    told = sizes | {"img_size": (sizes["img_size"],) * 2, "name": name}
    assert told == expected | {"init_values": 0.1 if own["init_values"] else 0.0}


@pytest.mark.parametrize(
    "changes",
    [{}, PRETRAINED, TUNED, {"class_token": False}, {"position": "both"}, {"qkv_bias": "none"}],
)
def test_sizes_are_read_from_weights(changes):
    encoder = vit(**changes)
    sizes = vit_sizes_of(encoder.state_dict(), {})
    again = build_encoder(**sizes)
    assert again.architecture() == encoder.architecture() | {"name": again.name}


def test_where_nothing_is_learned_of_places_images_are_of_224_pixels_unless_it_is_said():
    state = vit(position="none").state_dict()
    assert vit_sizes_of(state, {})["img_size"] == 224
    assert vit_sizes_of(state, {"img_size": (64, 32)})["img_size"] == (64, 32)


def test_a_table_of_a_file_cannot_take_all_memory():
    state = vit(**PRETRAINED).state_dict()
    rows = (2 * 60 - 1) ** 2 + 3
    state["backbone.rel_pos_bias.relative_position_bias_table"] = torch.zeros(rows, 2)
    with pytest.raises(PretrainedMismatch, match="of one too large to be a ViT's"):
        vit_sizes_of(state, {})


def test_a_vit_is_told_from_a_swin(tiny):
    assert is_vit(vit().architecture())
    assert not is_vit(tiny().architecture())


def test_heads_that_nobody_says_are_told():
    guessed = {"position": "absolute", "embed_dim": 768, "num_heads": (12,)}
    line = "heads are taken to be 12, as published ViTs of the width: nobody says; load_enc"
    assert told_of_heads(guessed, {}).startswith(line)
    other = guessed | {"embed_dim": 128, "num_heads": (2,)}
    assert "to be 2, as 64 channels each: nobody says" in told_of_heads(other, {})
    assert told_of_heads(guessed, {"num_heads": 12}) is None
    assert told_of_heads(guessed | {"position": "relative"}, {}) is None


def test_a_load_tells_of_guessed_heads_and_takes_those_that_are_given(tmp_path):
    encoder = vit(position="absolute", embed_dim=64, num_heads=(4,)).eval()
    state = {f"encoder.{n.removeprefix('backbone.')}": x for n, x in encoder.state_dict().items()}
    torch.save({"model": state}, tmp_path / "official.pth")
    found = open_encoder(tmp_path / "official.pth")
    assert any(one.startswith("heads are taken to be 1,") for one in found.report.remarks)
    given = open_encoder(tmp_path / "official.pth", num_heads=(4,)).encoder.eval()
    images = torch.randn(2, 3, *encoder.img_size)
    torch.testing.assert_close(given(images), encoder(images))
