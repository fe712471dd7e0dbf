from dataclasses import replace

import pytest
import torch

from ssl_swin.config.data import DataConfig
from ssl_swin.config.model import MaskConfig, ModelConfig, TargetConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.errors import UserError
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.targets import TARGETS
from ssl_swin.runs.network import build_network

TINY = ModelConfig("swin_tiny_patch4_window7_224", 32, 4, 4, 16, (1, 1), (1, 2))
CONFIG = PretrainConfig("run", DataConfig("x"), model=TINY, mask=MaskConfig(mask_patch_size=8))


def test_what_a_config_names_is_what_is_trained():
    images = torch.rand(2, 3, 32, 32)
    plain = build_network(CONFIG)
    assert torch.equal(plain.target(images), images)
    around = replace(CONFIG, target=TargetConfig("normalised_pixels", norm_size=5))
    target = build_network(around).target(images)
    assert torch.equal(target, TARGETS["normalised_pixels"](norm_size=5)(images))
    assert not torch.equal(target, TARGETS["normalised_pixels"](norm_size=7)(images))


def test_a_new_kind_is_a_line_in_its_table(monkeypatch):
    monkeypatch.setitem(LOSSES, "l2", lambda target, prediction: (target - prediction) ** 2)
    found = build_network(replace(CONFIG, loss="l2")).loss(torch.tensor(3.0), torch.tensor(1.0))
    assert found == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": "l3"}, "loss='l3' is not known; nearest: l1"),
        ({"mask": MaskConfig("block", 8)}, "mask.kind='block' is not known; nearest: random"),
        ({"target": TargetConfig("pixel")}, "target.kind='pixel' is not known; nearest: pixels"),
        ({"target": TargetConfig("normalised_pixels", 4)}, "norm_size=4"),
        ({"mask": MaskConfig(mask_patch_size=8, mask_ratio=1.0)}, "leave at least one"),
        ({"mask": MaskConfig(mask_patch_size=6)}, "does not divide img_size=32"),
        ({"mask": MaskConfig(mask_patch_size=2)}, "does not divide mask_patch_size=2"),
    ],
)
def test_what_is_not_known_or_does_not_fit_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        build_network(replace(CONFIG, **change))
