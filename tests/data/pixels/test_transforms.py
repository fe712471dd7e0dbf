import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ssl_swin.data.pixels.transforms import (
    EvaluationTransform,
    TrainTransform,
    random_erasing,
)


def noise(size=(40, 30), mode="RGB"):
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("policy", ["", "rand-m9-mstd0.5-inc1"])
def test_a_transformed_image_depends_on_its_key_alone(policy):
    transform = TrainTransform(0, 24, (0.3, 1.0), rand_augment=policy)
    image, keys = noise(), [(0, 0), (0, 1), (1, 0), (1, 10**9)]
    first = [transform(image, *key).tobytes() for key in keys]
    again = TrainTransform(0, 24, (0.3, 1.0), rand_augment=policy)
    for key, expected in reversed(list(zip(keys, first, strict=True))):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        assert again(image, *key).tobytes() == expected
    assert len(set(first)) == len(keys)
    other = TrainTransform(1, 24, (0.3, 1.0), rand_augment=policy)
    assert other(image, *keys[0]).tobytes() != first[0]


def test_transforms_leave_the_global_generators_alone():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    TrainTransform(0, 24, (0.3, 1.0), rand_augment="rand-m9-mstd0.5-inc1")(noise(), 0, 0)
    random_erasing(torch.zeros(2, 3, 24, 24), torch.arange(2), 0, 0, 1.0)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after


def test_rand_augment_changes_most_images():
    plain, strong = (TrainTransform(0, 24, (1.0, 1.0), rand_augment=p) for p in ("", "rand-m9"))
    image = noise()
    changed = [plain(image, 0, i).tobytes() != strong(image, 0, i).tobytes() for i in range(30)]
    assert sum(changed) > 15


@pytest.mark.parametrize(("hflip", "low", "high"), [(0.0, 0, 0), (1.0, 200, 200), (0.5, 75, 125)])
def test_flips_come_as_often_as_asked_for(hflip, low, high):
    transform = TrainTransform(0, 30, (1.0, 1.0), (1.0, 1.0), hflip=hflip)
    image = noise((30, 30))
    flips = sum(transform(image, 0, i).tobytes() != image.tobytes() for i in range(200))
    assert low <= flips <= high


@pytest.mark.parametrize(("img_size", "short"), [(224, 256), (192, 219)])
def test_evaluation_resizes_the_short_side_as_simmim_does(img_size, short):
    image = noise((600, 400))
    expected = CenterCrop(img_size)(Resize(short, InterpolationMode.BICUBIC)(image))
    assert EvaluationTransform(img_size)(image, 0, 0).tobytes() == expected.tobytes()


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("size", [(28, 28), (37, 28), (28, 37), (301, 200), (64, 3), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_evaluation_equals_torchvision_pixel_for_pixel(size, crop_pct, mode):
    image = noise(size, mode)
    resize = Resize(int(28 / crop_pct), InterpolationMode.BICUBIC)
    found = EvaluationTransform(28, crop_pct)(image, 0, 0)
    assert found.size == (28, 28)
    assert found.tobytes() == CenterCrop(28)(resize(image)).tobytes()


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
