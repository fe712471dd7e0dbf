"""AP, AUROC and F1 against scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn import metrics

from ssl_swin.evaluation.ranking import auroc, average_precision, counts_of, f1, mean_of


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_they_are_those_of_scikit_learn(seed, ties):
    draws = np.random.default_rng(seed)
    has, score = draws.random(200) < 0.3, draws.random(200)
    score = np.round(score, 1) if ties else score
    counts = counts_of(score, has)
    assert average_precision(*counts) == pytest.approx(metrics.average_precision_score(has, score))
    assert auroc(*counts) == pytest.approx(metrics.roc_auc_score(has, score))
    said = score >= 0.5
    hits, num = (said & has).sum(keepdims=True), has.sum(keepdims=True)
    found = f1(hits, said.sum(keepdims=True), num)
    assert found[0] == pytest.approx(metrics.f1_score(has, said))


def test_what_has_no_image_is_no_number():
    none = np.zeros(3)
    assert math.isnan(average_precision(none, np.ones(3)))
    assert math.isnan(average_precision(np.zeros(0), np.zeros(0)))
    assert math.isnan(auroc(none, np.ones(3)))
    assert math.isnan(auroc(np.ones(3), none))
    assert np.isnan(f1(np.zeros(1), np.ones(1), np.zeros(1))).all()
    assert f1(np.zeros(1), np.zeros(1), np.ones(1)) == 0


def test_means_are_over_what_is_a_number():
    assert mean_of(np.array([1.0, np.nan, 3.0])) == 2
    assert math.isnan(mean_of(np.array([np.nan])))
