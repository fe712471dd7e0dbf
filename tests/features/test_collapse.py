import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_swin.features.collapse import collapse_signs, feature_std, mean_cosine, rankme


def gaussian(rows, columns, seed=0):
    draws = np.random.default_rng(seed).standard_normal((rows, columns))
    return torch.from_numpy(draws)


def orthonormal(rows, columns):
    """Columns of length 1 that are perpendicular to each other."""
    return torch.linalg.qr(gaussian(rows, columns)).Q


@pytest.mark.parametrize(("num", "dim"), [(64, 24), (24, 64), (32, 32)])
@pytest.mark.parametrize("rank", [1, 3, 16])
def test_rankme_of_equal_singular_values_is_their_number(num, dim, rank):
    features = 7 * orthonormal(num, rank) @ orthonormal(dim, rank).T
    assert rankme(features) == pytest.approx(rank, rel=1e-6)


def test_rankme_of_given_singular_values_is_the_exponential_of_their_entropy():
    singular = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    features = orthonormal(40, 5) @ singular.diag() @ orthonormal(9, 5).T
    share = [8 / 16, 4 / 16, 2 / 16, 1 / 16, 1 / 16]
    assert rankme(features) == pytest.approx(2 ** sum(-p * math.log2(p) for p in share), rel=1e-6)


@pytest.mark.parametrize("rank", [2, 8, 32])
def test_rankme_of_a_gaussian_of_some_rank_is_near_it(rank):
    """Singular values of n draws in r directions lie within 1 +- sqrt(r / n) of each other."""
    features = gaussian(20_000, rank) @ orthonormal(64, rank).T
    assert rankme(features) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_what_singular_values_say():
    features = gaussian(60, 30) * torch.logspace(0, -3, 30, dtype=torch.float64)
    share = torch.linalg.svdvals(features)
    share /= share.sum()
    assert rankme(features) == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-6)


def test_collapsed_features_show_it_by_all_signs():
    features = gaussian(1, 12).repeat(50, 1)
    found = collapse_signs(features * torch.linspace(0.5, 9, 50)[:, None])
    assert found["rankme"] == pytest.approx(1, abs=1e-6)
    assert found["feature_std"] == pytest.approx(0, abs=1e-6)
    assert found["mean_cosine"] == pytest.approx(1)


@pytest.mark.parametrize("dim", [2, 5, 64])
def test_orthonormal_features_are_as_far_from_it_as_can_be(dim):
    found = collapse_signs(torch.eye(dim))
    assert found["rankme"] == pytest.approx(dim)
    assert found["feature_std"] == pytest.approx(math.sqrt(1 - 1 / dim))  # of 1 one and zeros
    assert found["mean_cosine"] == pytest.approx(0, abs=1e-12)


def test_a_gaussian_in_many_directions_has_a_standard_deviation_of_1():
    assert feature_std(gaussian(20_000, 64)) == pytest.approx(1, rel=1e-3)


def test_two_opposite_clusters_have_the_cosine_of_their_pairs():
    """Of 3 and 2: 3 + 1 pairs have a cosine of 1, and 6 of -1."""
    features = torch.tensor([[2.0, 0.0]] * 3 + [[-5.0, 0.0]] * 2)
    assert mean_cosine(features) == pytest.approx((4 - 6) / 10)


@pytest.mark.parametrize("num", [2, 3, 40])
def test_the_mean_cosine_is_that_of_all_pairs(num):
    features = gaussian(num, 7) + 0.5
    cosine = torch.nn.functional.cosine_similarity(features[:, None], features[None], dim=2)
    pairs = cosine[~torch.eye(num, dtype=torch.bool)]
    assert mean_cosine(features) == pytest.approx(float(pairs.mean()))


def test_it_is_computed_in_float64():
    features = gaussian(50, 20)
    found, exact = collapse_signs(features.float()), collapse_signs(features.float().double())
    assert found == exact


class Largest(TorchDispatchMode):
    """Keeps how many numbers the largest tensor has that is made in float64."""

    num = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **kwargs or {})
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            self.num = max(self.num, found.numel())
        return found


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_many_features_are_read_in_parts_with_the_numbers_of_the_whole(spread):
    features = (1 + spread * gaussian(10_000, 8)).float()
    with Largest() as largest:
        found = collapse_signs(features)
    assert largest.num <= 4096 * 8
    whole = features.double()
    unit = torch.nn.functional.normalize(whole, dim=1)
    share = torch.linalg.eigvalsh(whole.T @ whole).sqrt()
    share /= share.sum()
    cosine = (unit.sum(0).square().sum() - len(unit)) / (len(unit) * (len(unit) - 1))
    expected = {
        "rankme": float((-share * share.log()).sum().exp()),
        "feature_std": float(unit.std(0, correction=0).mean()) * math.sqrt(8),
        "mean_cosine": float(cosine),
    }
    assert found == pytest.approx(expected, rel=1e-9)


def test_features_of_zeros_have_no_rank():
    assert rankme(torch.zeros(4, 3)) == 0
    assert collapse_signs(torch.zeros(4, 3))["feature_std"] == 0


def test_features_that_are_not_finite_have_no_signs():
    features = gaussian(4, 3)
    features[1, 2] = math.nan
    assert all(math.isnan(value) for value in collapse_signs(features).values())


def test_one_image_has_no_signs():
    with pytest.raises(ValueError, match="2 images or more, and there are 1"):
        collapse_signs(torch.ones(1, 3))
