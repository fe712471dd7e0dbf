import numpy as np
import torch

from ssl_swin.evaluation.classify import Answers
from ssl_swin.evaluation.findings import find

# Four images of three classes, of which number 1 is broken.
PROBABILITY = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
LABEL = np.array([0, 2, 2, 1])


def answers(*parts):
    broken = np.array([False, True, False, False])
    return [Answers(np.arange(a, b), PROBABILITY[a:b].double(), broken[a:b]) for a, b in parts]


def test_what_is_broken_does_not_count_and_parts_are_laid_together():
    for parts in ([(0, 4)], [(0, 1), (1, 2), (2, 4)]):
        found = find(answers(*parts), LABEL, 3)
        assert found.place.tolist() == [0, 2, 3]
        assert found.broken == (1,)
        assert found.ranked[:, 0].tolist() == [0, 1, 2]
        assert found.ranked.shape == found.probability.shape == (3, 3)
        assert np.allclose(found.right, [0.7, 0.1, 0.2])
        assert found.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
        assert found.measures["top1"] == 100 / 3
        assert found.measures["top5"] == 100


def test_the_most_confident_mistakes_come_first():
    found = find(answers((0, 4)), LABEL, 3)
    assert found.mistakes(9).tolist() == [1, 2]  # probabilities 0.8 and 0.6
    assert found.mistakes(1).tolist() == [1]


def test_only_broken_images_are_no_image():
    broken = Answers(np.arange(2), PROBABILITY[:2].double(), np.array([True, True]))
    found = find([broken], LABEL, 3)
    assert (len(found.label), found.broken) == (0, (0, 1))
