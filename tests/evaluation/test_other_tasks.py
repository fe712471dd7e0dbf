"""Sums over parts of the images, and what they come to."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from ssl_swin.evaluation.other_tasks import NUM_BINS, means_of, sums_of_classes, sums_of_numbers


def added(parts):
    return {name: sum(part[name] for part in parts) for name in parts[0]}


@pytest.mark.parametrize("num_parts", [1, 3])
def test_several_classes_come_to_what_scikit_learn_finds(num_parts):
    draws = np.random.default_rng(0)
    target = (draws.random((300, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(float)
    score = draws.integers(0, NUM_BINS, (300, 4)) / NUM_BINS  # the first of each bin
    probability, there = torch.from_numpy(score), torch.from_numpy(target)
    pairs = zip(probability.chunk(num_parts), there.chunk(num_parts), strict=True)
    found = means_of(added([sums_of_classes(*pair) for pair in pairs]))
    known = target[:, :3], score[:, :3]  # no image is of the last
    assert found["map"] == pytest.approx(100 * metrics.average_precision_score(*known))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(*known))
    f1 = metrics.f1_score(known[0], known[1] >= 0.5, average="macro")
    assert found["macro_f1"] == pytest.approx(100 * f1)


@pytest.mark.parametrize("num_parts", [1, 3])
def test_numbers_come_to_what_scikit_learn_finds(num_parts):
    draws = torch.Generator().manual_seed(0)
    target = torch.randn(100, 2, generator=draws, dtype=torch.float64)
    said = target + 0.3 * torch.randn(100, 2, generator=draws, dtype=torch.float64)
    pairs = zip((said - target).chunk(num_parts), target.chunk(num_parts), strict=True)
    found = means_of(added([sums_of_numbers(*pair, (2.0, 5.0)) for pair in pairs]))
    scale = np.array([2.0, 5.0])
    whole = target.numpy() * scale, said.numpy() * scale
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*whole))
    assert found["r2"] == pytest.approx(metrics.r2_score(*whole))


def test_sums_of_other_kinds_come_to_nothing():
    assert means_of({"top1": torch.tensor(1.0)}) == {}
    none = torch.zeros(0, 1, dtype=torch.float64)
    assert means_of(sums_of_numbers(none, none, (1.0,))) == {}
