import pytest
import torch
from sklearn.metrics import roc_auc_score

from ssl_swin.evaluation.auroc import areas


@pytest.mark.parametrize("grain", [None, 10], ids=["all different", "many alike"])
def test_the_mean_is_scikit_learn_s_macro_average_of_one_against_the_rest(grain):
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(4, (200,), generator=draw) ** 2 // 3
    logits = torch.randn(200, 4, generator=draw, dtype=torch.float64)
    logits[torch.arange(200), label] += 1
    scores = logits.softmax(1)
    if grain:
        scores = (scores * grain).round() / grain
    whole = areas(scores, label)
    each = [roc_auc_score((label == n).numpy(), scores[:, n].numpy()) for n in range(4) if n != 2]
    assert whole.tolist() == pytest.approx(each, abs=1e-6)
    parts = torch.cat([areas(scores[:, :1], label), areas(scores[:, 1:], label, 1)])
    assert torch.equal(parts, whole)


def test_classes_without_images_and_without_others_are_left_out():
    assert areas(torch.rand(5, 3).double(), torch.full((5,), 1)).tolist() == []
    found = areas(torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.2, 0.0]]).double(), torch.tensor([1, 0]))
    assert found.tolist() == [1.0, 1.0]
