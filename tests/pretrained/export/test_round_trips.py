"""Ours -> another library's files -> ours: the same bits."""

import pytest
import torch

from ssl_swin.pretrained.export import huggingface, official, ours, timm, torchvision
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.load import load_encoder
from ssl_swin.pretrained.open import open_encoder

WHERE = {  # module -> what is given of its folder
    huggingface: "",
    timm: "",
    ours: "",
    torchvision: "model.pth",
    official: "checkpoint.pth",
}


@pytest.mark.parametrize("module", WHERE, ids=lambda module: module.__name__.rpartition(".")[2])
def test_weights_come_back_bit_for_bit(run, tmp_path, module):
    folder, encoder = run
    out = tmp_path / "out"
    out.mkdir()
    module.write(HandOff("x", load_encoder(folder), "told"), out)
    opened = open_encoder(out / WHERE[module], img_size=64, window_size=4)
    found, expected = opened.encoder.state_dict(), encoder.state_dict()
    lost = set(opened.report.missing)
    assert lost <= {"mask_token"}
    assert all(torch.equal(found[name], one) for name, one in expected.items() if name not in lost)
