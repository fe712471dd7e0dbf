"""Which images and windows a library computes otherwise: what is refused to it, and told of its."""

import json

import pytest
import torch
import torchvision
import transformers

import ssl_swin
from ssl_swin.pretrained.geometry import (
    Stage,
    any_window,
    largest_window,
    never_smaller,
    of_one_size,
    shrunk,
    stages_of,
    unlike_squares,
    unlike_windows,
)
from ssl_swin.pretrained.huggingface import HUGGINGFACE, HUGGINGFACE_V2
from ssl_swin.pretrained.mmpretrain import MMPRETRAIN
from ssl_swin.pretrained.monai import MONAI
from ssl_swin.pretrained.official import OFFICIAL, OFFICIAL_V2
from tests.pretrained.vits import moved

PAPER = {"patch_size": 4, "embed_dim": 16, "num_heads": (1, 2), "name": "a"}
PAPER |= {"img_size": (192, 192), "window_size": 6, "depths": (2, 2, 18, 2)}
TINY = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}


@pytest.mark.parametrize(
    ("img_size", "patch_size"), [((224, 192), 4), ((60, 100), 2), ((40, 40), 4)]
)
@pytest.mark.parametrize("window", [3, 7, (7, 3)])
def test_stages_are_those_of_the_network(tiny, img_size, patch_size, window):
    encoder = tiny(img_size=img_size, patch_size=patch_size, window_size=window)
    found = stages_of(encoder.architecture())
    assert [stage.grid for stage in found] == [stage.grid for stage in encoder.backbone.layers]
    tables = encoder.position_tables().values()  # two blocks each
    assert [one.window for one in found for _ in range(2)] == list(tables)


@pytest.mark.parametrize(
    ("window", "largest"), [(6, (6, 6)), (100, (48, 48)), ((3, 6, 12, 6), (12, 12))]
)
def test_the_largest_window_is_one_that_a_stage_has(window, largest):
    assert largest_window(PAPER | {"window_size": window}) == largest


def test_a_window_that_does_not_divide_is_named_with_its_stage():
    told = list(unlike_windows(PAPER | {"window_size": 7}, lambda *_: None))
    assert told == ["model.window_size=7, which does not divide the 48 x 48 tokens of stage 1"]


def test_who_asks_is_told_each_stage_and_the_largest_window():
    seen = []
    list(unlike_windows(PAPER | {"window_size": 12}, lambda *given: seen.append(given)))
    assert [largest for _, largest in seen] == [(12, 12)] * 4
    assert seen[-1][0] == Stage(4, (6, 6), (6, 6))


def test_windows_of_two_sides_are_what_they_are():
    sizes = {
        "depths": [2, 2],
        "patch_size": 4,
        "img_size": [40, 64],
        "window_size": [[5, 8], [5, 4]],
    }
    assert [stage.window for stage in stages_of(sizes)] == [(5, 8), (5, 4)]
    assert largest_window(sizes) == (5, 8)


@pytest.mark.parametrize("naming", [OFFICIAL, OFFICIAL_V2, HUGGINGFACE, HUGGINGFACE_V2])
def test_a_window_as_large_as_one_side_alone_is_said_to_be_that(naming):
    """A wide image of four stages, of which the last has 6 x 12 tokens."""
    told = "model.window_size=6, which is as large as one side of the 6 x 12 tokens of stage 4 and"
    assert next(naming.unlike(PAPER | {"img_size": (192, 384)})).startswith(told)
    assert list(naming.unlike(PAPER)) == []


@pytest.mark.parametrize(
    ("stage", "wrong"),
    [
        (Stage(1, (12, 12), (6, 6)), ()),
        (Stage(1, (6, 6), (6, 6)), ()),
        (Stage(1, (6, 12), (6, 6)), (never_smaller, shrunk)),  # there it is shifted by no side
        (Stage(1, (3, 3), (3, 3)), (never_smaller, of_one_size)),
        (Stage(1, (3, 12), (3, 6)), (never_smaller, of_one_size, shrunk)),
    ],
)
def test_each_library_has_windows_of_its_kind(stage, wrong):
    kinds = (never_smaller, of_one_size, shrunk, any_window)
    assert tuple(one for one in kinds if one(stage, (6, 6))) == wrong


def test_mmpretrain_never_shifts_what_monai_shifts():
    wide = PAPER | {"img_size": (192, 384)}
    assert [len(list(one.unlike(wide))) for one in (MMPRETRAIN, MONAI)] == [1, 0]
    assert [len(list(one.unlike(PAPER | {"window_size": 7}))) for one in (MMPRETRAIN, MONAI)] == [
        1,
        1,
    ]


def test_tables_of_a_vit_are_of_squares_in_one_library():
    told = ["model.img_size=48 x 96 with model.position=relative"]
    assert list(unlike_squares({"img_size": [48, 96], "position": "relative"})) == told
    assert list(unlike_squares({"img_size": [48, 48], "position": "relative"})) == []
    assert list(unlike_squares({"img_size": [48, 96], "position": "absolute"})) == []


def transformers_swin(folder, version, img_size, window_size):
    config = getattr(transformers, f"Swin{version}Config")
    config = config(image_size=img_size, window_size=window_size, **TINY)
    torch.manual_seed(0)
    model = getattr(transformers, f"Swin{version}Model")(config, add_pooling_layer=False)
    moved(model.eval()).save_pretrained(folder)
    return lambda images: model(images).last_hidden_state.transpose(1, 2)


def torchvision_swin(folder, img_size, window_size):
    torch.manual_seed(0)
    sizes = ([4, 4], 8, [2, 2], [1, 2], [window_size, window_size])
    model = moved(torchvision.models.SwinTransformer(*sizes).eval())
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    known = {"input_size": [3, *img_size], "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": known}))
    return lambda images: model.norm(model.features(images)).permute(0, 3, 1, 2).flatten(2)


def beit(folder, img_size):
    sizes = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 512}
    config = transformers.BeitConfig(
        image_size=img_size, use_relative_position_bias=True, use_mean_pooling=False, **sizes
    )
    torch.manual_seed(0)
    model = moved(transformers.BeitModel(config, add_pooling_layer=False).eval())
    model.save_pretrained(folder)
    return lambda images: model(images).last_hidden_state[:, 1:].transpose(1, 2)


@pytest.mark.parametrize(
    ("made", "img_size", "window", "told"),
    [
        (transformers_swin, (64, 64), ("", 4), ""),
        (transformers_swin, (64, 96), ("", 4), ""),
        (
            transformers_swin,
            (64, 64),
            ("", 5),
            "window_size=5, which does not divide the 16 x 16 t",
        ),
        (
            transformers_swin,
            (64, 128),
            ("", 8),
            "window_size=8, which is as large as one side of t",
        ),
        (transformers_swin, (64, 64), ("v2", 5), "window_size=5, which does not divide the 16 x 1"),
        (transformers_swin, (64, 128), ("v2", 8), "window_size=8, which is as large as one side o"),
        (torchvision_swin, (64, 64), (4,), ""),
        (torchvision_swin, (64, 128), (8,), ""),
        (torchvision_swin, (64, 64), (5,), "window_size=5, which does not divide the 16 x 16 toke"),
        (beit, (48, 48), (), ""),
        (beit, (48, 96), (), "img_size=48 x 96 with model.position=relative"),
    ],
)
def test_what_comes_in_says_where_its_library_has_other_features(
    tmp_path, capsys, made, img_size, window, told
):
    *version, side = window or (None,)
    arguments = (*version, img_size, side) if window else (img_size,)
    theirs = made(tmp_path, *arguments)
    found = ssl_swin.load_encoder(tmp_path)
    images = torch.randn(2, 3, *img_size)
    with torch.no_grad():
        apart = (found.maps(images).flatten(2) - theirs(images)).abs().max().item()
    said = [one for one in found.report.remarks if "other features, or none" in one]
    assert (apart < 1e-5) == (told == ""), apart
    assert [told in one for one in said] == ([True] if told else [])
    assert all(one in capsys.readouterr().err for one in said)
