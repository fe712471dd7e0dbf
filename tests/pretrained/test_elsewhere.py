from dataclasses import replace

import pytest
import torch

from ssl_swin.pretrained.elsewhere import NAMINGS, read_elsewhere
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.timm import TIMM, to_timm


def test_one_more_naming_is_one_line_in_the_table(tiny, tmp_path, monkeypatch):
    encoder = tiny(img_size=32)
    state = {f"x_{name}": value for name, value in to_timm(encoder.state_dict()).items()}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(PretrainedMismatch, match="is of an unknown kind"):
        find_weights(tmp_path / "x.pth")
    naming = replace(
        TIMM,
        kind="an X",
        stem=f"x_{TIMM.stem}",
        mark="x_layers",
        ours=lambda name: name.removeprefix("x_"),
    )
    monkeypatch.setitem(NAMINGS, "x", naming)
    opened = open_encoder(tmp_path / "x.pth")
    assert opened.report.kind == "an X"
    assert len(opened.report.remapped) == len(opened.report.loaded) == len(state)
    assert ("x_norm.bias", "backbone.norm.bias") in opened.report.remapped
    own = opened.encoder.state_dict()
    assert all(torch.equal(own[f"backbone.{name[2:]}"], value) for name, value in state.items())
    monkeypatch.setitem(NAMINGS, "x", replace(naming, ours=None))
    with pytest.raises(PretrainedMismatch, match=r"x\.pth is an X: this release has encoders of"):
        find_weights(tmp_path / "x.pth")


TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layers.0.blocks.999999999.norm1.weight": torch.zeros(1)}, "without a gap"),
        ({"layers.999999999.blocks.0.norm1.weight": torch.zeros(1)}, "without a gap"),
        ({"patch_embed.proj.weight": torch.zeros(16, 3, 4)}, r"has shape \(16, 3, 4\), and in"),
        ({"patch_embed.proj.weight": torch.zeros(16, 1, 2, 2, 2)}, "weights for volumes"),
        ({"patch_embed.proj.weight": torch.zeros(0, 3, 4, 4)}, "the file is damaged"),
        ({TABLE: torch.zeros(49)}, r"attn.relative_position_bias_table has shape \(49,\)"),
        ({"layers.1.blocks.0.attn.relative_position_bias_table": None}, "is missing"),
        (
            {"layers.1.blocks.0.attn.relative_position_bias_table": torch.zeros(2**22, 4)},
            "more than 1024 a side: that is no Swin",
        ),
        ({"norm.weight": None}, r"1 missing: backbone\.norm\.weight"),
        ({"norm.weight": torch.zeros(9)}, r"backbone\.norm\.weight \(9,\) instead of \(32,\)"),
        ({"patch_embed.proj.weight": torch.zeros(10**6, 1, 1, 1)}, "instead of"),
    ],
)
def test_what_is_not_a_whole_swin_is_refused_before_anything_is_built(tiny, tmp_path, change, told):
    state = to_timm(tiny(img_size=32).state_dict()) | change
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=told) as caught:
        read_elsewhere(tmp_path / "c.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'c.pth'}, timm's Swin: ")
    assert "\n" not in str(caught.value)
