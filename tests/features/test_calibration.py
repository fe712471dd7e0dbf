import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from ssl_swin.features.calibration import calibration_error


def theirs(probability, label):
    found = multiclass_calibration_error(
        torch.from_numpy(probability), torch.from_numpy(label), probability.shape[1], n_bins=15
    )
    return 100 * float(found)


@pytest.mark.parametrize("num_classes", [2, 14, 300])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 10.0, 2000.0])
def test_it_is_that_of_torchmetrics(num_classes, sharpness):
    draw = np.random.default_rng(num_classes)
    logits = torch.from_numpy(sharpness * draw.normal(size=(500, num_classes)))
    probability = logits.softmax(dim=1).numpy()
    label = draw.integers(num_classes, size=500)
    found = calibration_error(probability, label)
    assert found == pytest.approx(theirs(probability, label), rel=1e-5, abs=1e-5)


def test_it_is_what_one_counts_by_hand():
    probability = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0], [0.5, 0.5]])
    label = np.array([0, 1, 1, 0, 0])
    by_hand = 100 * (2 * abs(0.5 - 0.9) + abs(1 - 0.6) + 0 + abs(1 - 0.5)) / 5
    assert calibration_error(probability, label) == pytest.approx(by_hand)
