import numpy as np
import pytest
from sklearn import metrics

from ssl_swin.evaluation.measures import (
    balanced,
    confusion_matrix,
    cross_entropy,
    most_confused,
    per_class,
    top_k,
)

NUM_CLASSES = 6
# Class 5 has no image, and nothing is said to be of class 3.
LABEL = np.array([i * i % 5 if i % 3 else i % 5 for i in range(60)])
SCORES = np.array(
    [
        [
            ((i * 7 + k * 11 + i * i * k) % 97 + 1) / 97 + 0.5 * (k == LABEL[i]) if k != 3 else 0.01
            for k in range(NUM_CLASSES)
        ]
        for i in range(60)
    ]
)
SCORES /= SCORES.sum(axis=1, keepdims=True)
RANKED = np.argsort(-SCORES, axis=1, kind="stable")
SAID = RANKED[:, 0]
# scikit-learn 1.9.1, of these labels and scores
TOP1, TOP2, BALANCED, MACRO_F1 = 0.6666666666666666, 0.8166666666666667, 0.54, 0.43150183150183147
LOSS = 1.3802182499615279
PRECISION = [0.6428571428571429, 0.8666666666666667, 0.25, 0.0, 0.8421052631578947, 0.0]
RECALL = [0.75, 0.65, 0.5, 0.0, 0.8, 0.0]
F1 = [0.6923076923076923, 0.7428571428571429, 0.3333333333333333, 0.0, 0.8205128205128205, 0.0]
CONFUSION = [
    [9, 0, 2, 0, 0, 1],
    [2, 13, 1, 0, 1, 3],
    [2, 0, 2, 0, 0, 0],
    [0, 1, 1, 0, 2, 0],
    [1, 1, 2, 0, 16, 0],
    [0, 0, 0, 0, 0, 0],
]


def test_measures_are_those_of_scikit_learn():
    confusion = confusion_matrix(LABEL, SAID, NUM_CLASSES)
    assert confusion.tolist() == CONFUSION
    assert top_k(RANKED, LABEL, 1) == {"top1": pytest.approx(100 * TOP1, rel=1e-14)}
    assert top_k(RANKED, LABEL, 2) == {"top2": pytest.approx(100 * TOP2, rel=1e-14)}
    found = balanced(confusion)
    assert found["balanced_accuracy"] == pytest.approx(100 * BALANCED, rel=1e-14)
    assert found["macro_f1"] == pytest.approx(100 * MACRO_F1, rel=1e-14)
    right = SCORES[np.arange(len(LABEL)), LABEL]
    assert cross_entropy(right) == {"loss": pytest.approx(LOSS, rel=1e-14)}
    each = per_class(confusion)
    assert each["count"].tolist() == [12, 20, 4, 4, 20, 0]
    for name, expected in (("precision", PRECISION), ("recall", RECALL), ("f1", F1)):
        assert each[name].tolist() == pytest.approx([100 * one for one in expected], rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_the_scikit_learn_that_is_installed(seed):
    random = np.random.default_rng(seed)
    label, scores = random.integers(0, 9, 300), random.random((300, 9))
    scores[np.arange(300), label] += 0.3
    scores /= scores.sum(axis=1, keepdims=True)
    ranked = np.argsort(-scores, axis=1)
    confusion = confusion_matrix(label, ranked[:, 0], 9)
    assert (confusion == metrics.confusion_matrix(label, ranked[:, 0])).all()
    theirs = {
        "top1": metrics.accuracy_score(label, ranked[:, 0]),
        "top5": metrics.top_k_accuracy_score(label, scores, k=5),
        "balanced_accuracy": metrics.balanced_accuracy_score(label, ranked[:, 0]),
        "macro_f1": metrics.f1_score(label, ranked[:, 0], average="macro"),
    }
    ours = {**top_k(ranked, label, 1), **top_k(ranked, label, 5), **balanced(confusion)}
    assert ours == pytest.approx({name: 100 * value for name, value in theirs.items()}, rel=1e-14)
    loss = cross_entropy(scores[np.arange(300), label])["loss"]
    assert loss == pytest.approx(metrics.log_loss(label, scores), rel=1e-13)


def test_a_right_class_without_any_probability_costs_much_and_not_infinitely():
    assert 700 < cross_entropy(np.zeros(1))["loss"] < 720


def test_the_most_frequent_mistakes_come_first_and_no_right_answer_is_among_them():
    confusion = np.array([[50, 3, 0], [7, 40, 0], [0, 3, 9]])
    assert most_confused(confusion, 2) == [(1, 0, 7), (0, 1, 3)]
    assert most_confused(confusion, 9) == [(1, 0, 7), (0, 1, 3), (2, 1, 3)]
    assert most_confused(np.diag([1, 2]), 5) == []
