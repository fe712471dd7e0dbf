"""Windows of a Swin, version 1, by what lies beside it; those of V2 are in test_swin_v2.py."""

import json

import pytest
import torch

from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.timm import to_timm
from tests.pretrained.vits import moved

NAME = "swin_tiny_patch4_window7_224"


def beside(encoder, folder, **arguments):
    """What timm writes of a Swin."""
    torch.save(to_timm(encoder.state_dict()), folder / "pytorch_model.bin")
    known = {"input_size": [3, *encoder.img_size], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"architecture": NAME, "model_args": arguments, "pretrained_cfg": known}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("img_size", "windows"),
    [
        ((80, 104), ((5, 13), (5, 13))),  # as many ways to lie as in 8 x 8
        ((64, 192), (8, 8)),  # of which the second stage has 8 x 8 too
        ((32, 128), (8, 8)),  # of which the second stage has 4 x 8
    ],
)
def test_timms_config_tells_the_sides_of_windows(tiny, tmp_path, img_size, windows):
    encoder = moved(tiny(img_size=img_size, window_size=windows).eval())
    beside(encoder, tmp_path, window_size=windows)
    opened = open_encoder(tmp_path)
    assert opened.report.resized == opened.report.remarks == ()
    images = torch.randn(1, 3, *img_size)
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(images), encoder(images))
    again = open_encoder(tmp_path, window_size=((8, 8), (4, 4)))
    assert again.report.remarks == ()


@pytest.mark.parametrize("told", [None, 6, [[9, 9]], "8", [[]], [8, [8]], 100])
def test_what_tells_no_window_that_the_tables_have_is_left_alone(tiny, tmp_path, told):
    encoder = tiny(img_size=64, window_size=8)
    beside(encoder, tmp_path, window_size=told)
    assert find_weights(tmp_path).architecture["window_size"] == 8
