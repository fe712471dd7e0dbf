import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ssl_swin.training.regularise import Regularisation, random_erasing

PLAIN = Regularisation(0, num_classes=5, erasing=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.1)
MIXED = replace(PLAIN, mixup=0.8, cutmix=1.0)


def share(num):
    """Images that are all of one value each, so that a mixture shows."""
    images = torch.arange(1.0, num + 1).view(num, 1, 1, 1).expand(num, 1, 8, 8).clone()
    index, epoch = torch.arange(num), torch.zeros(num, dtype=torch.int64)
    return images, {"index": index, "epoch": epoch, "label": index % 5}


def test_without_mixing_images_stay_and_labels_are_smoothed():
    images, batch = share(7)
    found, targets = PLAIN(images.clone(), batch, step=3, rank=0)
    assert torch.equal(found, images)
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * 7)
    assert targets[1].tolist() == pytest.approx([0.02, 0.92, 0.02, 0.02, 0.02])


@pytest.mark.parametrize("num", [1, 2, 7, 8])
def test_an_image_is_mixed_with_one_and_an_odd_one_stays(num):
    images, batch = share(num)
    found, targets = MIXED(images.clone(), batch, step=3, rank=0)
    even = num // 2 * 2
    assert torch.equal(found[even:], images[even:])
    assert torch.equal(targets[even:], PLAIN(images, batch, 3, 0)[1][even:])
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * num)
    for place in range(even):
        pair = {images[place, 0, 0, 0].item(), images[even - 1 - place, 0, 0, 0].item()}
        values = found[place].unique()
        assert min(pair) <= values.min() <= values.max() <= max(pair)


def test_a_mixture_depends_on_seed_step_and_rank_and_on_nothing_else():
    images, batch = share(8)

    def mix(seed=0, step=3, rank=1):
        return replace(MIXED, seed=seed)(images.clone(), batch, step, rank)

    first = mix()
    np.random.rand(), random.random()  # noqa: NPY002
    for one, other in zip(first, mix(), strict=True):
        assert torch.equal(one, other)
    for other in (mix(seed=1), mix(step=4), mix(rank=0)):
        assert not torch.equal(other[1], first[1])


def test_the_global_generators_are_left_alone():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before, (images, batch) = states(), share(8)
    replace(MIXED, erasing=1.0)(images, batch, step=0, rank=0)
    assert states() == before


@pytest.mark.parametrize("split", [1, 3, 8])
def test_erasing_does_not_depend_on_how_the_batch_is_split(split):
    images, index = torch.zeros(8, 3, 32, 32), torch.arange(8) * 7
    whole = random_erasing(images.clone(), index, 2, 0, 0.7)
    parts = [
        random_erasing(part.clone(), place, 2, 0, 0.7)
        for part, place in zip(images.split(split), index.split(split), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(random_erasing(images.clone(), index, 3, 0, 0.7), whole)


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (8, 8), (3, 3)])
def test_erasing_fills_one_rectangle_with_noise(size):
    images = random_erasing(torch.full((400, 1, *size), 9.0), torch.arange(400), 0, 0, 1.0)
    erased = (images != 9.0)[:, 0]
    area = erased.flatten(1).sum(1)
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert (rows * columns == area).all()
    if min(size) >= 32:
        share = area / (size[0] * size[1])
        assert share.min() > 0.01
        assert share.max() < 0.37
        values = images[:, 0][erased]
        assert abs(values.mean()) < 0.05
        assert abs(values.std() - 1) < 0.05


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_erasing_hits_its_share_of_the_images(probability):
    images = random_erasing(torch.full((600, 1, 32, 32), 9.0), torch.arange(600), 0, 0, probability)
    share = (images != 9.0).flatten(1).any(1).float().mean()
    assert abs(share - probability) < 0.05
