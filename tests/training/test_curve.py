import math

import pytest
import torch
from torch import nn

from ssl_swin.training.curve import LearningRateCurve, scaled_lr, set_lr
from ssl_swin.training.optim import adamw


def test_rates_are_given_for_512_images():
    assert scaled_lr(2e-4, 2048) == pytest.approx(8e-4)


CURVE = {
    "total_steps": 100,
    "base_lr": 1.0,
    "warmup_steps": 10,
    "warmup_lr": 0.1,
    "min_lr": 0.01,
}


def test_the_first_two_steps_run_at_the_warmup_rate():
    curve = LearningRateCurve(**CURVE)
    assert curve.at(0) == curve.at(1) == 0.1
    assert curve.at(2) == pytest.approx(0.1 + 0.9 / 10)


def test_the_cosine_drops_where_the_warmup_ends_unless_it_starts_there():
    assert LearningRateCurve(**CURVE).at(11) == pytest.approx(
        0.01 + 0.99 * (1 + math.cos(math.pi * 0.1)) / 2
    )
    assert LearningRateCurve(**CURVE, warmup_prefix=True).at(11) == 1.0


@pytest.mark.parametrize("warmup_prefix", [True, False])
@pytest.mark.parametrize("lr_scale", [1.0, 0.5, 0.001])
def test_layer_decay_scales_neither_the_start_nor_the_floor(lr_scale, warmup_prefix):
    curve = LearningRateCurve(**CURVE, warmup_prefix=warmup_prefix)
    assert curve.at(0, lr_scale) == 0.1
    assert curve.at(101, lr_scale) == pytest.approx(0.01, abs=1e-12)
    assert curve.at(10_000, lr_scale) == pytest.approx(0.01, abs=1e-12)


def test_multistep_drops_at_each_milestone():
    curve = LearningRateCurve(
        total_steps=40, base_lr=1.0, schedule="multistep", milestones=(20, 30), gamma=0.1
    )
    rates = [curve.at(step, 0.5) for step in (0, 20, 21, 30, 31, 39)]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schedule": "linear"}, "must be 'cosine' or 'multistep'"),
        ({"warmup_steps": 100}, "shorten the warmup"),
        ({"warmup_steps": -1}, "at least 0"),
        ({"schedule": "multistep"}, "multistep needs milestones"),
        ({"milestones": (5,)}, "cosine takes none"),
        ({"schedule": "multistep", "milestones": (5, 3)}, "sorted"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        LearningRateCurve(**(CURVE | change))


def test_the_optimiser_gets_each_groups_rate_once():
    plain, scaled = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = adamw([{"params": [plain]}, {"params": [scaled], "lr_scale": 0.5}], lr=0.0)
    curve = LearningRateCurve(**CURVE)
    for _ in range(3):  # setting it again must not scale it again
        assert set_lr(optimizer, curve, 50) == curve.at(50)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [curve.at(50), curve.at(50, 0.5)]


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    rate = torch.tensor(0.0, dtype=torch.float64)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=rate, fused=True)
    (group,) = optimizer.param_groups
    before = group["lr"]  # what a compiled or captured step reads
    set_lr(optimizer, LearningRateCurve(**CURVE), 50)
    assert group["lr"] is before
    assert float(before) == LearningRateCurve(**CURVE).at(50)
