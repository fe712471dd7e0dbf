import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from ssl_swin.features import probe
from ssl_swin.features.probe import PENALTIES, USUAL_PENALTY, Moments, fit_probe

CPU = torch.device("cpu")
NUM_CLASSES = 6


def drawn(num, seed, dim=24, noise=2.0):
    """Correlated features of classes that overlap, some of them large and some small."""
    law, draw = np.random.default_rng(9), np.random.default_rng(seed)
    means, mixed = law.normal(size=(NUM_CLASSES, dim)), law.normal(size=(dim, dim))
    size = 10.0 ** law.uniform(-3, 3, dim)
    label = draw.choice(NUM_CLASSES, num, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    features = (means[label] + noise * draw.normal(size=(num, dim))) @ mixed * size + 5 * size
    return torch.from_numpy(features.astype(np.float32)), label


def fitted(features, label, seed=0):
    return fit_probe(features, label, Moments.of(features), seed, CPU)


@pytest.mark.parametrize("rows", [4096, 37])
def test_it_is_the_logistic_regression_of_scikit_learn(rows, monkeypatch):
    monkeypatch.setattr(probe, "_ROWS", rows)
    (train, label), (test, of_test) = drawn(600, 0), drawn(400, 1)
    found = fitted(train, label)
    scaler = StandardScaler().fit(train.numpy().astype(float))
    theirs = LogisticRegression(C=1 / (600 * found.penalty), tol=1e-7, max_iter=5000)
    theirs.fit(scaler.transform(train.numpy().astype(float)), label)
    expected = theirs.predict_proba(scaler.transform(test.numpy().astype(float)))
    said = found.probabilities(test, NUM_CLASSES)
    np.testing.assert_allclose(said, expected, atol=2e-4)
    assert abs((said.argmax(1) == of_test).mean() - (expected.argmax(1) == of_test).mean()) < 0.002
    assert 0.3 < (said.argmax(1) == of_test).mean() < 0.9


def test_its_penalty_is_that_of_the_smallest_held_out_loss():
    features, label = drawn(600, 0)
    moments, found = Moments.of(features), fitted(features, label)
    held_out = probe._held_out(label, 0)
    assert np.bincount(label[held_out]).tolist() == (np.bincount(label) // 5).tolist()
    losses = {}
    for penalty in PENALTIES:
        theirs = LogisticRegression(C=1 / ((~held_out).sum() * penalty), tol=1e-6, max_iter=5000)
        standard = moments.standardise(features, CPU).numpy()
        theirs.fit(standard[~held_out], label[~held_out])
        said = theirs.predict_proba(standard[held_out])
        losses[penalty] = -np.log(said[np.arange(len(said)), label[held_out]]).mean()
    assert found.penalty == min(losses, key=losses.get)
    assert PENALTIES[0] > found.penalty > PENALTIES[-1]


def test_other_seeds_hold_other_images_out():
    _, label = drawn(600, 0)
    assert (probe._held_out(label, 0) == probe._held_out(label, 0)).all()
    assert (probe._held_out(label, 0) != probe._held_out(label, 1)).any()


def test_a_sweep_that_only_gets_worse_ends_early(monkeypatch):
    features, label = drawn(120, 0, noise=30.0)  # of which nothing can be learned
    tried = []
    minimise = probe._Objective.minimise

    def noted(self, weight, penalty, slope):
        tried.append(penalty)
        return minimise(self, weight, penalty, slope)

    monkeypatch.setattr(probe._Objective, "minimise", noted)
    found = fitted(features, label)
    *swept, last = tried
    assert last == found.penalty
    assert swept[-3:] == [found.penalty, *swept[-2:]]
    assert len(swept) < len(PENALTIES)


def test_few_labels_have_no_choice_and_a_class_may_have_one():
    features, label = drawn(30, 0)
    assert fitted(features, label).penalty == USUAL_PENALTY
    many, of_many = drawn(300, 1)
    of_many[of_many == 5] = 4
    of_many[7] = 5
    found = fitted(many, of_many)
    assert found.kinds.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.probabilities(many, NUM_CLASSES)[:, 5].max() > 0


def test_classes_without_an_image_get_nothing():
    features, label = drawn(200, 0)
    there = np.isin(label, (1, 4))
    found = fitted(features[there], label[there])
    said = found.probabilities(features, 9)
    assert said.shape == (200, 9)
    assert (said[:, [0, 2, 3, 5, 6, 7, 8]] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)
    alone = fitted(features[label == 1], label[label == 1])
    assert (alone.probabilities(features, 3)[:, 1] == 1).all()


def test_features_that_say_nothing_change_nothing():
    features, label = drawn(200, 0)
    found = fitted(features, label).probabilities(features, NUM_CLASSES)
    more = torch.cat([features, torch.full((200, 2), 7.0), torch.zeros(200, 1)], dim=1)
    np.testing.assert_allclose(
        fitted(more, label).probabilities(more, NUM_CLASSES), found, atol=1e-3
    )


def test_moments_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(probe, "_ROWS", 37)
    features, _ = drawn(200, 0)
    moments, plain = Moments.of(features), features.double().numpy()
    np.testing.assert_allclose(moments.mean, plain.mean(0))
    np.testing.assert_allclose(moments.std, plain.std(0))
    rebuilt = moments.axes @ torch.diag(moments.variance) @ moments.axes.T
    np.testing.assert_allclose(rebuilt, np.corrcoef(plain.T), atol=1e-9)


def test_what_does_not_fit_the_memory_is_read_again(monkeypatch):
    features, label = drawn(100, 0)
    kept = fitted(features, label).weight
    monkeypatch.setattr(probe, "_room", lambda _: 0)
    assert torch.equal(fitted(features, label).weight, kept)


@pytest.mark.parametrize(("limit", "expected"), [(10**8, 1), (1, 2)])
def test_little_is_computed_in_one_thread_and_then_it_is_as_before(monkeypatch, limit, expected):
    seen, before = set(), torch.get_num_threads()

    def look(*_):
        blas = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
        seen.update(blas | {torch.get_num_threads()})
        raise InterruptedError

    monkeypatch.setattr(probe, "_FOR_THREADS", limit)
    monkeypatch.setattr(probe._Objective, "_penalised", look)
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2, user_api="blas"), pytest.raises(InterruptedError):
            fitted(*drawn(60, 0))
        assert (seen, torch.get_num_threads()) == ({expected}, 2)
    finally:
        torch.set_num_threads(before)
