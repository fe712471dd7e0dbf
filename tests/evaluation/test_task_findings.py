"""What is said of images with several classes, or numbers, held against their labels."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.open import open_shards
from ssl_swin.errors import UserError
from ssl_swin.evaluation.classify import Answers
from ssl_swin.evaluation.task_findings import find_for_task, targets_by_name
from ssl_swin.pretrained.classifier import ClassifierCard
from tests.data.shards.tars import image_bytes, write_tar


def card(task, *classes):
    return ClassifierCard({}, classes, (0.5,), (0.5,), 32, task=task)


def answers(said, broken=()):
    index = np.arange(len(said))
    return [Answers(index, torch.tensor(said).double(), np.isin(index, broken))]


def test_several_classes_are_measured_where_there_is_a_label():
    draws = np.random.default_rng(0)
    target = (draws.random((50, 3)) < 0.4).astype(float)
    target[[3, 7]] = np.nan
    said = draws.random((50, 3))
    found = find_for_task(answers(said, [5]), target, "multi-label")
    good = np.delete(np.arange(50), [3, 5, 7])
    assert (found.place.tolist(), found.broken) == (good.tolist(), (5,))
    known = target[good], said[good]
    assert found.measures["map"] == pytest.approx(100 * metrics.average_precision_score(*known))
    assert found.measures["auroc"] == pytest.approx(metrics.roc_auc_score(*known))
    exact = metrics.accuracy_score(known[0], known[1] >= 0.5)
    assert found.measures["exact"] == pytest.approx(100 * exact)
    assert found.per_output["precision"] == pytest.approx(
        100 * metrics.precision_score(known[0], known[1] >= 0.5, average=None)
    )


def test_numbers_are_measured_in_their_units():
    target, said = np.array([[1.0], [2.0], [4.0]]), [[1.5], [2.0], [3.0]]
    found = find_for_task(answers(said), target, "regression").measures
    assert found["mae"] == pytest.approx(0.5)
    assert found["rmse"] == pytest.approx(np.sqrt(1.25 / 3))
    assert found["r2"] == pytest.approx(metrics.r2_score(target, said))


def test_classes_are_the_same_by_name(tmp_path):
    members = [("a.png", image_bytes(0)), ("a.cls", b"cat;bee"), ("b.png", image_bytes(1))]
    write_tar(tmp_path / "a.tar", members)
    shards = attach({"x": open_shards(tmp_path)}, Asked("multi-label"))[0]["x"]
    rows = targets_by_name(shards, "x", card("multi-label", "cat", "ant", "bee"))
    assert rows[0].tolist() == [1, 0, 1]
    assert np.isnan(rows[1]).all()
    with pytest.raises(UserError, match=r"x has classes that .* not know: 'bee', 'cat'; .*'Cat'"):
        targets_by_name(shards, "x", card("multi-label", "Cat", "ant"))
