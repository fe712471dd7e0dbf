import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from ssl_swin.features.few_labels import NUM_DRAWS
from ssl_swin.features.measures import MEASURES, NEIGHBOURS, LabelledFeatures, draws_of_rows
from ssl_swin.features.neighbours import knn_scores

NUM_CLASSES = 5


def labelled(num=200, num_test=80, noise=1.5, seed=0):
    draw = np.random.default_rng(seed)
    means = np.random.default_rng(9).normal(size=(NUM_CLASSES, 12))
    parts = []
    for size in (num, num_test):
        label = draw.integers(NUM_CLASSES, size=size)
        values = means[label] + noise * draw.normal(size=(size, 12))
        parts += [torch.from_numpy(values.astype(np.float32)), np.arange(size), label]
    draws = draws_of_rows(parts[2], parts[1], 0)
    return LabelledFeatures(*parts, NUM_CLASSES, draws, 0, torch.device("cpu"))


def test_knn_is_that_of_neighbours_in_float64():
    features = labelled()
    found = MEASURES["knn"](features)
    assert [*found.numbers] == [*(f"knn{k}" for k in NEIGHBOURS), "knn20_balanced"]
    label, train, test = (
        torch.from_numpy(features.train_label),
        features.train.double(),
        features.test.double(),
    )
    for k in NEIGHBOURS:
        said = knn_scores(train, label, test, NUM_CLASSES, k).argmax(dim=1).numpy()
        assert found.numbers[f"knn{k}"] == 100 * (said == features.test_label).mean()
    assert (found.said["knn20"] == said).all()
    theirs = 100 * balanced_accuracy_score(features.test_label, said)
    assert found.numbers["knn20_balanced"] == pytest.approx(theirs)


def test_the_probe_tells_classes_apart_and_how_sure_it_is():
    easy, hard = (MEASURES["probe"](labelled(noise=noise)) for noise in (0.2, 3.0))
    for found in (easy, hard):
        names = ("balanced", "calibration_error", "loss", "penalty")
        assert [*found.numbers] == ["probe", *(f"probe_{name}" for name in names)]
    assert easy.numbers["probe"] == 100
    assert 100 / NUM_CLASSES < hard.numbers["probe"] < 80
    assert easy.numbers["probe_loss"] < 0.1 < hard.numbers["probe_loss"]


def test_few_labels_are_means_over_draws_and_more_of_them_help():
    features = labelled()
    few = MEASURES["few_labels"](features).few_labels
    names = ["1 per class", "2 per class", "5 per class", "10 per class", "10 %", "100 %"]
    assert [one["name"] for one in few] == names  # 1 % is fewer than there are classes
    for one in few[:-1]:
        for prefix in ("", "knn_"):
            assert len(one[f"{prefix}top1"]) == NUM_DRAWS
            assert one[f"{prefix}mean"] == pytest.approx(np.mean(one[f"{prefix}top1"]))
            assert one[f"{prefix}sd"] == pytest.approx(np.std(one[f"{prefix}top1"], ddof=1))
    whole = few[-1]
    assert (whole["num_labels"], whole["sd"], whole["knn_sd"]) == (200, None, None)
    assert whole["mean"] == MEASURES["probe"](features).numbers["probe"]
    assert whole["knn_mean"] == MEASURES["knn"](features).numbers["knn20"]
    assert few[0]["mean"] < few[2]["mean"] < whole["mean"]


def test_a_draw_is_the_same_where_an_image_is_missing():
    label = np.arange(60) % 3
    whole = dict(draws_of_rows(label, np.arange(60), 0))
    place = np.delete(np.arange(60), whole["5 per class"][0][2])
    less = dict(draws_of_rows(label, place, 0))
    kept = [place[rows].tolist() for rows in less["5 per class"]]
    assert kept == [[one for one in rows if one in place] for rows in whole["5 per class"]]
    assert len(kept[0]) == 14


def test_draws_of_broken_images_only_are_left_out():
    label = np.arange(60) % 2
    first, second, *_ = whole = [rows for name, rows in draws_of_rows(label, np.arange(60), 0)]
    gone = first[0]
    found = draws_of_rows(label, np.delete(np.arange(60), gone), 0)
    assert len(found[0][1]) == NUM_DRAWS - 1
    assert len(found[1][1]) == len(second)
    gone = np.unique(np.concatenate(first))
    assert len(draws_of_rows(label, np.delete(np.arange(60), gone), 0)) == len(whole) - 1


def test_collapsed_features_are_measured_too():
    features = labelled()
    features.train[:], features.test[:] = 1.0, 1.0
    found = MEASURES["knn"](features).numbers | MEASURES["probe"](features).numbers
    assert all(np.isfinite(value) for value in found.values())
    most = 100 * (features.test_label == np.bincount(features.train_label).argmax()).mean()
    assert found["probe"] == pytest.approx(most)


def test_signs_of_collapse_are_of_the_test_images():
    features = labelled()
    features.train[:] = 1.0
    assert 1 < MEASURES["collapse"](features).numbers["rankme"] <= 12
    features.test[:] = 1.0
    assert MEASURES["collapse"](features).numbers["rankme"] == pytest.approx(1)
