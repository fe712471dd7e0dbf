"""The nearest images by cosine similarity, and what their classes say of an image."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

TEMPERATURE = 0.07  # as in the sources of `knn_scores`
_TEST_ROWS, _TRAIN_ROWS = 1024, 8192  # of one product: 64 MiB in float64


def nearest(
    train: Float[Tensor, "n d"],
    test: Float[Tensor, "m d"],
    k: int,
    *,
    leave_one_out: bool = False,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """Find the k images of `train` that are most alike to each of `test`.

    Memory holds a few blocks of similarities, however many images there are; `train` may lie on
    another device, and then comes to that of `test` in parts.

    Args:
        train: Finite features. A vector of zeros has the similarity 0 to every other.
        test: Likewise.
        k: Neighbours; fewer if `train` has no more.
        leave_one_out: Whether both are the same images in the same order, of which none counts
            as its own neighbour.
        dtype: What products are computed in; left out, that of `test`, or float32 if it has less.

    Returns:
        The cosine similarities, the largest first, and the places in `train`, int64.

    Raises:
        ValueError: If no neighbour is left.
    """
    k = min(k, len(train) - leave_one_out)
    if k < 1:
        raise ValueError(f"{len(train)} images leave no neighbour; give more")
    dtype = dtype or torch.promote_types(test.dtype, torch.float32)
    parts = [
        _nearest_of_part(train, _unit(part, test.device, dtype), k, first if leave_one_out else -1)
        for first, part in _parts(test, _TEST_ROWS)
    ]
    empty = torch.empty(0, k, dtype=dtype, device=test.device)
    similarity = torch.cat([empty, *(one for one, _ in parts)])
    return similarity, torch.cat([empty.long(), *(one for _, one in parts)])


def vote(
    similarity: Float[Tensor, "m k"],
    index: Int[Tensor, "m k"],
    label: Int[Tensor, " n"],
    num_classes: int,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "m num_classes"]:
    """Return the share of each class among the neighbours, by their weights exp(cos / temperature).

    Args:
        similarity: Of the neighbours, as of `nearest`.
        index: Their places.
        label: The class of every image that may be one.
        num_classes: Classes that there are.
        temperature: The smaller, the more the nearest of all decides; above 0.
    """
    weight = (similarity / temperature).softmax(dim=1)
    share = weight.new_zeros(len(weight), num_classes)
    return share.scatter_add_(1, label.to(index.device)[index], weight)


def knn_scores(
    train: Float[Tensor, "n d"],
    label: Int[Tensor, " n"],
    test: Float[Tensor, "m d"],
    num_classes: int,
    k: int = 20,
    *,
    leave_one_out: bool = False,
) -> Float[Tensor, "m num_classes"]:
    """Classify images by their k nearest: what each says counts exp(cos / 0.07).

    The same as scikit-learn's KNeighborsClassifier with the cosine metric and these weights.

    Args:
        train: Finite features.
        label: Their classes, 0 to num_classes - 1.
        test: Finite features.
        num_classes: Classes that there are.
        k: Neighbours; fewer if `train` has no more.
        leave_one_out: As of `nearest`.

    Returns:
        The share of each class; a row sums to 1.

    Raises:
        ValueError: If no neighbour is left.

    Source:
        Wu et al., section 3.4 (arXiv:1805.01978); DINO, appendix E (arXiv:2104.14294).
    """
    similarity, index = nearest(train, test, k, leave_one_out=leave_one_out)
    return vote(similarity, index, label, num_classes)


def _nearest_of_part(
    train: Tensor, test: Float[Tensor, "m d"], k: int, first: int
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """Return the nearest of some images, of which the first is at the place `first` of `train`.

    It is -1 if they are others.
    """
    similarity = test.new_empty(len(test), 0)
    index = torch.empty(len(test), 0, dtype=torch.int64, device=test.device)
    for begin, part in _parts(train, _TRAIN_ROWS):
        found = test @ _unit(part, test.device, test.dtype).T  # (m, part)
        place = torch.arange(begin, begin + len(part), device=test.device)
        if first >= 0:
            own = torch.arange(first, first + len(test), device=test.device)
            found.masked_fill_(own[:, None] == place, -torch.inf)
        similarity = torch.cat([similarity, found], dim=1)
        index = torch.cat([index, place.expand(len(test), -1)], dim=1)
        similarity, best = similarity.topk(min(k, similarity.shape[1]), dim=1)
        index = index.gather(1, best)
    return similarity, index


def _parts(features: Tensor, rows: int) -> list[tuple[int, Tensor]]:
    return [(first, features[first : first + rows]) for first in range(0, len(features), rows)]


def _unit(features: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return vectors of length 1, or 0."""
    return normalize(features.to(device, dtype), dim=1)
