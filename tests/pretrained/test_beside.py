import json

import pytest
import timm
import torch

from ssl_swin.pretrained.beside import with_beside
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights

SIZES = {"in_chans": 3, "img_size": 32, "patch_size": 4}
MEAN, STD = (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)
TIMMS = {"input_size": [3, 64, 64], "mean": MEAN, "std": STD}
SWIN = {"model_type": "swin"}


@pytest.mark.parametrize(
    ("config", "images", "size", "mean"),
    [
        (SWIN | {"image_size": 64}, {"image_mean": MEAN, "image_std": STD}, (64, 64), MEAN),
        (SWIN | {"image_size": [64, 96]}, {"image_mean": MEAN, "image_std": [1]}, (64, 96), None),
        (SWIN | {"image_size": "large"}, {"image_mean": "x", "image_std": STD}, 32, None),
        (
            {"pretrained_cfg": {"input_size": [3, 64, 64], "mean": MEAN, "std": STD}},
            {},
            (64, 64),
            MEAN,
        ),
        ({"pretrained_cfg": 3}, {}, 32, None),
        ({"model_type": "bert", "image_size": 64}, {}, 32, None),
        ([], 3, 32, None),
    ],
)
def test_what_stands_beside_a_file_is_believed_where_it_makes_sense(
    tmp_path, config, images, size, mean
):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    found = with_beside(tmp_path / "model.safetensors", Weights({}, SIZES))
    assert found.architecture["img_size"] == size
    assert (found.mean, found.std) == ((MEAN, STD) if mean else (None, None))


def test_what_is_no_json_says_nothing(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff{")
    (tmp_path / "preprocessor_config.json").write_text("[" * 100_000)
    assert with_beside(tmp_path / "pytorch_model.bin", Weights({}, SIZES)) == Weights({}, SIZES)


def test_beside_a_file_of_somebody_else_nothing_is_believed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SWIN | {"image_size": 64}))
    assert with_beside(tmp_path / "mine.pth", Weights({}, SIZES)) == Weights({}, SIZES)


def test_another_activation_or_norm_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SWIN | {"layer_norm_eps": 1e-6}))
    with pytest.raises(PretrainedMismatch, match="says layer_norm_eps=1e-06, and encoders here"):
        with_beside(tmp_path / "pytorch_model.bin", Weights({}, SIZES))


@pytest.mark.parametrize("size", [10**9, -64, 0, [float("nan"), 64], [64, float("inf")]])
def test_images_as_nothing_can_be_are_refused_before_anything_is_built(tmp_path, size):
    (tmp_path / "config.json").write_text(json.dumps(SWIN | {"image_size": size}))
    with pytest.raises(PretrainedMismatch, match=r"says images of .* pixels; give 1 to 4096"):
        with_beside(tmp_path / "pytorch_model.bin", Weights({}, SIZES))


def test_a_folder_that_timm_wrote_for_others_is_an_encoder(tmp_path):
    sizes = {"img_size": 64, "window_size": 4, "embed_dim": 16}
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(1, 2), **sizes
    )
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    found = find_weights(tmp_path)
    assert found.mean == tuple(model.pretrained_cfg["mean"])
    assert found.architecture["img_size"] == (64, 64)
    assert torch.equal(found.state["backbone.norm.weight"], model.norm.weight)
