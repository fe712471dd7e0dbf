import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ssl_swin.features import neighbours
from ssl_swin.features.neighbours import TEMPERATURE, knn_scores, nearest, vote

NUM_CLASSES = 7
BLOCKS = [(1024, 8192), (17, 13), (1, 1)]


def drawn(num, seed, dtype=torch.float64):
    """Features about the means of their classes, which overlap."""
    means = torch.randn(NUM_CLASSES, 16, generator=torch.Generator().manual_seed(9), dtype=dtype)
    label = torch.arange(num) % NUM_CLASSES
    noise = torch.randn(num, 16, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return means[label] + 1.5 * noise, label


@pytest.fixture(params=BLOCKS, ids=str)
def _in_blocks(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_TEST_ROWS", request.param[0])
    monkeypatch.setattr(neighbours, "_TRAIN_ROWS", request.param[1])


def theirs(train, label, k):
    def weights(distance):
        return np.exp((1 - distance) / TEMPERATURE)

    found = KNeighborsClassifier(k, weights=weights, metric="cosine")
    return found.fit(train.numpy(), label.numpy())


@pytest.mark.usefixtures("_in_blocks")
@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_it_is_the_classifier_of_scikit_learn(k):
    (train, label), (test, of_test) = drawn(150, 0), drawn(60, 1)
    other = theirs(train, label, k)
    scores = knn_scores(train, label, test, NUM_CLASSES, k)
    expected = torch.from_numpy(other.predict_proba(test.numpy()))
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)
    said = scores.argmax(dim=1)
    assert said.tolist() == other.predict(test.numpy()).tolist()
    assert 0.3 < (said == of_test).double().mean() < 0.95


@pytest.mark.usefixtures("_in_blocks")
def test_of_one_set_against_itself_no_image_is_its_own_neighbour():
    train, label = drawn(40, 0)
    similarity, index = nearest(train, train, 6, leave_one_out=True)
    assert (index != torch.arange(40)[:, None]).all()
    for place in range(40):
        others = torch.arange(40) != place
        alone, where = nearest(train[others], train[place : place + 1], 6)
        assert index[place].tolist() == torch.arange(40)[others][where[0]].tolist()
        torch.testing.assert_close(similarity[place : place + 1], alone)
    scores = knn_scores(train, label, train, NUM_CLASSES, 6, leave_one_out=True)
    torch.testing.assert_close(scores, vote(similarity, index, label, NUM_CLASSES))
    assert nearest(train, train, 1)[1][:, 0].tolist() == list(range(40))


def test_the_sizes_of_features_count_nothing_and_zeros_are_alike_to_nothing():
    (train, label), (test, _) = drawn(30, 0), drawn(8, 1)
    scores = knn_scores(train, label, test, NUM_CLASSES)
    size = torch.rand(30, 1, dtype=torch.float64) + 0.1
    again = knn_scores(train * size, label, 1e3 * test, NUM_CLASSES)
    torch.testing.assert_close(scores, again)
    similarity, _ = nearest(train, torch.zeros(2, 16, dtype=torch.float64), 3)
    assert (similarity == 0).all()


def test_more_neighbours_than_there_are_is_all_of_them():
    (train, label), (test, _) = drawn(5, 0), drawn(3, 1)
    assert nearest(train, test, 20)[0].shape == (3, 5)
    assert nearest(train, train, 20, leave_one_out=True)[0].shape == (5, 4)
    scores = knn_scores(train, label, test, NUM_CLASSES, 20)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert nearest(train, test[:0], 2)[0].shape == (0, 2)
    for num, leave in ((0, False), (1, True)):
        with pytest.raises(ValueError, match="no neighbour"):
            nearest(train[:num], test[:num], 2, leave_one_out=leave)


@pytest.mark.parametrize(
    ("given", "asked", "used"),
    [
        (torch.float16, None, torch.float32),
        (torch.bfloat16, None, torch.float32),
        (torch.float32, None, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.float64, None, torch.float64),
    ],
)
def test_it_computes_in_float32_at_least(given, asked, used):
    (train, _), (test, _) = drawn(30, 0), drawn(8, 1)
    similarity, index = nearest(train.to(given), test.to(given), 4, dtype=asked)
    assert (similarity.dtype, index.dtype) == (used, torch.int64)
    torch.testing.assert_close(
        similarity.double(), nearest(train, test, 4)[0], rtol=0.02, atol=0.02
    )


def test_the_nearest_decides_alone_where_the_temperature_is_low():
    (train, label), (test, _) = drawn(50, 0), drawn(20, 1)
    similarity, index = nearest(train, test, 20)
    shares = vote(similarity, index, label, NUM_CLASSES, temperature=1e-5)
    assert shares.isfinite().all()
    assert shares.argmax(dim=1).tolist() == label[index[:, 0]].tolist()
