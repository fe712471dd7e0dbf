import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup

from ssl_swin.draw import Purpose, seeded_globals
from ssl_swin.training.regularise import Regularisation

PLAIN = Regularisation(0, num_classes=5, mixup=0.0, cutmix=0.0, label_smoothing=0.1)
MIXED = replace(PLAIN, mixup=0.8, cutmix=1.0)


def apply(regularise, images, label, cuts=(), step=3, rank=0):
    """Return images and targets of a share that is cut into parts at these places."""
    bounds = [0, *cuts, len(images)]
    parts = [
        regularise(lambda first, last: images[first:last].clone(), label, one, step, rank)
        for one in pairwise(bounds)
    ]
    return torch.cat([image for image, _ in parts]), torch.cat([target for _, target in parts])


def share(num):
    """Images that are all of one value each, so that a mixture shows, and their labels."""
    images = torch.arange(1.0, num + 1).view(num, 1, 1, 1).expand(num, 1, 8, 8).clone()
    return images, torch.arange(num) % 5


def test_without_mixing_images_stay_and_labels_are_smoothed():
    images, label = share(7)
    found, targets = apply(PLAIN, images, label)
    assert torch.equal(found, images)
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * 7)
    assert targets[1].tolist() == pytest.approx([0.02, 0.92, 0.02, 0.02, 0.02])


@pytest.mark.parametrize("num", [1, 2, 7, 8])
def test_an_image_is_mixed_with_one_and_an_odd_one_stays(num):
    images, label = share(num)
    found, targets = apply(MIXED, images, label)
    even = num // 2 * 2
    assert torch.equal(found[even:], images[even:])
    assert torch.equal(targets[even:], apply(PLAIN, images, label)[1][even:])
    assert targets.sum(dim=1).tolist() == pytest.approx([1.0] * num)
    for place in range(even):
        pair = {images[place, 0, 0, 0].item(), images[even - 1 - place, 0, 0, 0].item()}
        values = found[place].unique()
        assert min(pair) <= values.min() <= values.max() <= max(pair)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 1.0), (0.8, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize(("num", "cuts"), [(8, ()), (8, (3, 6)), (13, (4, 5, 12)), (9, (8,))])
def test_a_mixture_is_timms_bit_for_bit_however_the_share_is_cut(mixup, cutmix, num, cuts, dtype):
    torch.manual_seed(0)
    images, label = torch.randn(num, 3, 14, 18, dtype=dtype), torch.arange(num) % 5
    regularise, even = replace(PLAIN, mixup=mixup, cutmix=cutmix), num // 2 * 2
    mix = Mixup(mixup, cutmix, label_smoothing=0.1, num_classes=5)
    kinds = set()
    for step in range(12):
        with seeded_globals(Purpose.MIXUP, 0, step, 1):
            theirs, soft = mix(images[:even].clone(), label[:even])
        found, targets = apply(regularise, images, label, cuts, step, rank=1)
        assert torch.equal(found[:even], theirs)
        assert torch.equal(targets[:even], soft.to(dtype))
        assert torch.equal(found[even:], images[even:])
        kinds.add(regularise.draw(14, 18, step, 1).box is None)
    assert len(kinds) == 1 + (mixup > 0 and cutmix > 0)


def test_a_mixture_depends_on_seed_step_and_rank_and_on_nothing_else():
    images, label = share(8)

    def mix(seed=0, step=3, rank=1):
        return apply(replace(MIXED, seed=seed), images, label, (), step, rank)

    first = mix()
    np.random.rand(), random.random()  # noqa: NPY002
    for one, other in zip(first, mix(), strict=True):
        assert torch.equal(one, other)
    for other in (mix(seed=1), mix(step=4), mix(rank=0)):
        assert not torch.equal(other[1], first[1])


def test_the_global_generators_are_left_alone():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    apply(MIXED, *share(8))
    assert states() == before


def test_several_classes_are_mixed_and_smoothed_each_by_itself():
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    images = torch.rand(2, 3, 8, 8)

    def targets(mixup, smoothing):
        mixing = Regularisation(0, 3, mixup, 0.0, smoothing)
        own = mixing.draw(8, 8, 0, 0).own if mixup else 1.0
        found = mixing(lambda start, stop: images[start:stop].clone(), label, (0, 2), 0, 0)[1]
        return found, own

    found, _ = targets(0.0, 0.1)
    torch.testing.assert_close(found[1], torch.tensor([0.05, 0.05, 0.95]))
    found, own = targets(0.8, 0.0)
    torch.testing.assert_close(found[1], torch.tensor([1 - own, 0.0, 1.0]))
