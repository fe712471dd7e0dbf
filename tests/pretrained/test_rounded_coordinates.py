"""Windows of a Swin V2 by coordinates that are stored in fewer bits."""

import pytest
import torch

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.swin_v2 import coordinates, read_coordinates
from ssl_swin.pretrained.timm import to_timm
from tests.pretrained.version2 import IMAGES, official, v2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_official_file_in_few_bits_comes_in(tmp_path, dtype):
    encoder = v2(pretrained_window_sizes=(8, 6))
    state = {name: one.to(dtype) for name, one in official(encoder)["model"].items()}
    torch.save({"model": state}, tmp_path / "c.pth")
    opened = open_encoder(tmp_path / "c.pth")
    sizes = opened.encoder.architecture()
    assert (sizes["window_size"], sizes["pretrained_window_sizes"]) == (8, [8, 6])
    encoder.load_state_dict({name: one.to(dtype) for name, one in encoder.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(IMAGES), encoder(IMAGES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("window", [(2, 2), (8, 8), (7, 16), (24, 24)])
def test_windows_of_pretraining_are_told_apart(window, dtype):
    for scale in range(2, 49):
        table = coordinates(window, (scale, scale)).to(dtype)
        assert read_coordinates(table) == (window, (scale, scale))


def test_what_is_too_coarse_to_tell_is_refused():
    table = coordinates((2, 2), (200, 200))
    assert read_coordinates(table.half()) == ((2, 2), (200, 200))
    with pytest.raises(
        PretrainedMismatch, match=r"bfloat16, .* of 200 and 201 tokens are the same"
    ):
        read_coordinates(table.bfloat16())


def test_what_is_spaced_otherwise_is_so_in_few_bits():
    table = coordinates((8, 8), (8, 8))
    for bad in (table * 1.05, torch.sign(table), table.round().long()):
        with pytest.raises(PretrainedMismatch, match=r"spaced otherwise|no window of a Swin V2"):
            read_coordinates(bad.bfloat16() if bad.is_floating_point() else bad)


def test_coordinates_of_a_block_that_are_not_its_stages_are_refused(tmp_path):
    state = to_timm(v2(depths=(2, 1)).state_dict())
    for stage, block in ((0, 0), (0, 1), (1, 0)):
        scale = (4, 4) if block == 0 else (8, 8)
        place = f"layers.{stage}.blocks.{block}.attn.relative_coords_table"
        state[place] = coordinates((4, 4), scale)
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=r"blocks\.1\..* is not as in the first block of"):
        find_weights(tmp_path / "c.pth")
