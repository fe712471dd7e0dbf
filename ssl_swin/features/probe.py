"""The linear probe: multinomial logistic regression on frozen features, by L-BFGS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import cross_entropy

from ssl_swin.draw import Purpose, permutation
from ssl_swin.main_memory import available_bytes

PENALTIES = tuple(10.0 ** (-half / 2) for half in range(-2, 11))  # 10 to 0.00001
USUAL_PENALTY = 0.1  # where labels are too few for a choice
_FEWEST = 10  # labels of a class, in the mean, for a choice
_HELD_OUT = 5  # one image of so many
_PATIENCE = 2  # weaker penalties that make the held-out loss larger, before the sweep ends
_MOST_ITERATIONS = 500
_TRIED, _FITTED = 1e-4, 1e-5  # largest slope that is left, of penalties that are tried and at last
_EPSILON = 1e-14  # of the loss: less is no progress
_ROWS = 4096  # images at once
_FOR_THREADS = 10**8  # products of a step: about 20 ms of one core


@dataclass(frozen=True)
class Moments:
    """How the features of the training images lie, by which they are standardised; float64."""

    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]
    """Of a feature that is the same in all images it is 1."""
    axes: Float[Tensor, "d d"]
    """Of standardised features; uncorrelated directions, by column."""
    variance: Float[Tensor, " d"]
    """Of standardised features along each axis."""

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "Moments":
        """Return those of some images, read in parts."""
        num, dim = features.shape
        mean = sum(part.double().sum(dim=0) for part in features.split(_ROWS)) / num
        product = torch.zeros(dim, dim, dtype=torch.float64)
        for part in features.split(_ROWS):
            centred = part.double() - mean
            product += centred.T @ centred
        std = (product.diagonal() / num).sqrt()
        std = torch.where(std > 1e-9 * torch.as_tensor(mean).abs(), std, 1.0)
        variance, axes = torch.linalg.eigh(product / num / torch.outer(std, std))
        return cls(torch.as_tensor(mean), std, axes, variance.clamp_min(0))

    def standardise(
        self, features: Float[Tensor, "n d"], device: torch.device
    ) -> Float[Tensor, "n d"]:
        """Return features of mean 0 and deviation 1: float64 on a CPU, float32 elsewhere."""
        found = (features.double() - self.mean) / self.std
        return found.to(device, torch.float64 if device.type == "cpu" else torch.float32)


@dataclass(frozen=True)
class Probe:
    """A linear classifier of standardised features."""

    moments: Moments
    kinds: Int[Tensor, " classes"]
    """The classes that it knows."""
    weight: Float[Tensor, "classes d_and_1"]
    """Of each feature, and the bias."""
    penalty: float
    """Of the mean loss: half the sum of the squared weights, without biases, times this."""

    def probabilities(
        self, features: Float[Tensor, "n d"], num_classes: int
    ) -> Float[np.ndarray, "n num_classes"]:
        """Return the probability of each class, float64; of classes it does not know 0."""
        device = self.weight.device
        found = np.zeros((len(features), num_classes))
        for first, part in enumerate(features.split(_ROWS)):
            logits = _logits(self.moments.standardise(part, device), self.weight)
            rows = slice(first * _ROWS, first * _ROWS + len(part))
            found[rows, self.kinds.numpy()] = logits.cpu().double().softmax(dim=1).numpy()
        return found


def fit_probe(
    features: Float[Tensor, "n d"],
    label: Int[np.ndarray, " n"],
    moments: Moments,
    seed: int,
    device: torch.device,
) -> Probe:
    """Fit a probe; its penalty is the one whose loss is smallest on a fifth of each class.

    Those images are held out while penalties are tried, from the strongest on, until weaker ones
    only make it worse; each begins where the one before it ended. With the chosen one it is then
    fitted to all images. With fewer than 10 labels per class the penalty is 0.1 instead.

    Args:
        features: Finite features, wherever they lie; they are read in parts.
        label: Their classes.
        moments: By which they are standardised: of all training images, labelled or not.
        seed: Of the images that are held out.
        device: Where products are computed.

    Source:
        The objective is that of scikit-learn's LogisticRegression with C = 1 / (n * penalty).
    """
    kinds, target = np.unique(label, return_inverse=True)
    with threads_for(len(kinds) * features.shape[1] * (len(label) + features.shape[1])):
        return _fit(features, (kinds, target), moments, seed, device)


@contextmanager
def threads_for(num_products: int) -> Iterator[None]:
    """Compute in one thread what is too little for several, torch's and SciPy's.

    They meet after each of some ten operations of a step, and on a busy machine they wait there for
    whoever has no core.
    """
    before, is_small = torch.get_num_threads(), num_products <= _FOR_THREADS
    torch.set_num_threads(1 if is_small else before)
    try:
        with threadpool_limits(1 if is_small else None, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def _fit(
    features: Tensor,
    labels: tuple[np.ndarray, np.ndarray],
    moments: Moments,
    seed: int,
    device: torch.device,
) -> Probe:
    """Do what `fit_probe` does; `labels` are the classes there are, and of each image which."""
    kinds, target = labels
    known, targets = torch.from_numpy(kinds), torch.from_numpy(target)
    size = len(kinds), features.shape[1] + 1
    weight = torch.zeros(size, dtype=torch.float64)
    penalty = USUAL_PENALTY
    if len(target) >= _FEWEST * len(kinds):
        held_out = torch.from_numpy(_held_out(target, seed))
        fitted, others = (
            _Objective(features, targets, rows.nonzero().flatten(), moments, device)
            for rows in (~held_out, held_out)
        )
        penalty, weight = _choose(fitted, others, weight)
        del fitted, others
    whole = _Objective(features, targets, torch.arange(len(targets)), moments, device)
    weight = whole.minimise(weight, penalty, _FITTED)
    return Probe(moments, known, weight.to(whole.device, whole.dtype), penalty)


def _held_out(target: Int[np.ndarray, " n"], seed: int) -> np.ndarray:
    """Draw a fifth of each class, bool (n,)."""
    chosen = np.zeros(len(target), bool)
    for kind in range(target.max() + 1):
        members = np.flatnonzero(target == kind)
        order = permutation(len(members), Purpose.HELD_OUT_LABELS, seed, kind)
        chosen[members[order[: len(members) // _HELD_OUT]]] = True
    return chosen


def _choose(fitted: "_Objective", held_out: "_Objective", weight: Tensor) -> tuple[float, Tensor]:
    """Return the penalty with the smallest held-out loss, and its weights."""
    best, found, patience = np.inf, (USUAL_PENALTY, weight), _PATIENCE
    for penalty in PENALTIES:
        weight = fitted.minimise(weight, penalty, _TRIED)
        loss = held_out.loss(weight)
        if loss < best:
            best, found, patience = loss, (penalty, weight), _PATIENCE
        elif not (patience := patience - 1):
            break
    return found


class _Objective:
    """The loss of some images as a function of weights, float64 (classes, d + 1) on the CPU."""

    def __init__(
        self, features: Tensor, target: Tensor, rows: Tensor, moments: Moments, device: torch.device
    ) -> None:
        self.features, self.target, self.rows = features, target, rows
        self.moments, self.device = moments, device
        self.dtype = torch.float64 if device.type == "cpu" else torch.float32
        self._kept: list[tuple[Tensor, Tensor]] = []
        if len(rows) * features.shape[1] * self.dtype.itemsize < _room(device):
            self._kept = list(self._read())

    def loss(self, weight: Tensor) -> float:
        """Return the mean loss without a penalty."""
        weight = weight.to(self.device, self.dtype)
        parts = (
            float(cross_entropy(_logits(part, weight), target, reduction="sum"))
            for part, target in self._parts()
        )
        return sum(parts) / len(self.rows)

    def minimise(self, weight: Tensor, penalty: float, slope: float) -> Tensor:
        """Return the weights with the smallest loss, found from these on, but for a slope.

        L-BFGS walks in coordinates in which the loss is about equally curved in all directions,
        which takes a tenth of the steps: along the axes of the features, each as long as the
        curvature of the loss and of the penalty make it.
        """
        curvature = 1 / len(weight) - 1 / len(weight) ** 2  # of a softmax that knows nothing yet
        length = (curvature * self.moments.variance + penalty).rsqrt()  # (d,)
        steps = self.moments.axes * length  # (d, d)
        start = torch.cat([weight[:, :-1] @ self.moments.axes / length, weight[:, -1:]], dim=1)

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            walked = torch.from_numpy(flat).view_as(weight)
            loss, gradient = self._penalised(_onto(walked, steps), penalty)
            return loss, _onto(gradient, steps.T).flatten().numpy()

        found = minimize(
            loss_and_gradient,
            start.flatten().numpy(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_ITERATIONS, "gtol": slope, "ftol": _EPSILON, "maxls": 50},
        )
        return _onto(torch.from_numpy(found.x).view_as(weight), steps)

    def _penalised(self, weight: Tensor, penalty: float) -> tuple[float, Tensor]:
        """Return loss and gradient."""
        loss, gradient = 0.0, torch.zeros_like(weight)
        there = weight.to(self.device, self.dtype)
        for part, target in self._parts():
            logits = _logits(part, there)
            loss += float(cross_entropy(logits, target, reduction="sum"))
            error = logits.softmax(dim=1)  # (images, classes)
            error[torch.arange(len(target), device=self.device), target] -= 1
            gradient[:, :-1] += (error.T @ part).cpu()
            gradient[:, -1] += error.sum(dim=0).cpu()
        gradient /= len(self.rows)
        gradient[:, :-1] += penalty * weight[:, :-1]
        size = float(weight[:, :-1].square().sum())
        return loss / len(self.rows) + penalty / 2 * size, gradient

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._kept or self._read()

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield standardised features and classes, part by part."""
        for rows in self.rows.split(_ROWS):
            part = self.moments.standardise(self.features[rows], self.device)
            yield part, self.target[rows].to(self.device)


def _logits(features: Tensor, weight: Tensor) -> Tensor:
    return torch.addmm(weight[:, -1], features, weight[:, :-1].T)


def _onto(weight: Tensor, matrix: Tensor) -> Tensor:
    """Return weights, without the bias, times the transpose of a matrix; the bias as it is."""
    return torch.cat([weight[:, :-1] @ matrix.T, weight[:, -1:]], dim=1)


def _room(device: torch.device) -> int:
    """Return the bytes that may be held, lest features be read again and again."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return max(2**30, available_bytes() // 4)
