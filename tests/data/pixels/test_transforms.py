import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ssl_swin.data.pixels.crop import cut
from ssl_swin.data.pixels.transforms import (
    EvaluationTransform,
    TrainTransform,
    posterize,
)
from ssl_swin.draw import Purpose, seeded_globals


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
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after


def test_rand_augment_changes_most_images():
    plain, strong = (TrainTransform(0, 24, (1.0, 1.0), rand_augment=p) for p in ("", "rand-m9"))
    image = noise()
    changed = [plain(image, 0, i).tobytes() != strong(image, 0, i).tobytes() for i in range(30)]
    assert sum(changed) > 15


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "rand-m9-mstd0.5"])
def test_rand_augment_gives_timms_own_pixels_where_timm_keeps_a_bit(policy):
    transform = TrainTransform(0, 24, (1.0, 1.0), rand_augment=policy)
    hparams = {"translate_const": 10, "img_mean": (128,) * 3, "interpolation": 2}
    theirs, image = rand_augment_transform(policy, hparams), noise()
    for index in range(300):  # none of these draws 0 bits, which not every Pillow takes
        with seeded_globals(Purpose.RAND_AUGMENT, 0, 0, index):
            expected = theirs(image)
        assert transform.finish(image, 0, index).tobytes() == expected.tobytes()


@pytest.mark.parametrize("increasing", [0, 1])
@pytest.mark.parametrize("ends", ["m0", "m10", "m0-mmax30", "m30-mmax30", "m1000000-mmax1000000"])
@pytest.mark.parametrize("size", [(40, 30), (1, 1)])
def test_every_operation_of_rand_augment_works_at_both_ends_of_its_range(increasing, ends, size):
    policy = f"rand-{ends}-p1-inc{increasing}"
    image = noise(size)
    operations = TrainTransform(0, 24, (1.0, 1.0), rand_augment=policy)._policy.ops
    assert len({operation.name for operation in operations}) == 15
    for operation in operations:
        results = [operation(image) for _ in range(8)]  # each sign, where one is thrown
        assert {(result.size, result.mode) for result in results} == {(size, "RGB")}
        if operation.name.startswith("Posterize"):
            black = not np.asarray(results[0]).any()
            assert black == (increasing != ends.startswith("m0"))


@pytest.mark.parametrize("num_bits", [-(10**6), -1, *range(10)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_posterizing_keeps_the_highest_bits_and_nothing_else(num_bits, mode):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([levels, levels[::-1], levels.T], 2) if mode == "RGB" else levels
    lost = 8 - min(max(num_bits, 0), 8)
    expected = pixels.astype(int) // 2**lost * 2**lost
    assert np.array_equal(np.asarray(posterize(Image.fromarray(pixels), num_bits)), expected)


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


def test_turns_and_vertical_flips_come_as_often_as_asked_for_and_depend_on_the_key_alone():
    transform = TrainTransform(0, (20, 30), vflip=0.25, quarter_turns=True)
    crops = [transform.crop((64, 64), 0, index) for index in range(400)]
    assert crops == [transform.crop((64, 64), 0, index) for index in range(400)]
    counts = [sum(one.quarter_turns == turns for one in crops) for turns in range(4)]
    assert min(counts) > 75
    assert 75 < sum(one.vflip for one in crops) < 125
    image = Image.new("L", (64, 64))
    assert {cut(image, one).size for one in crops} == {(30, 20)}


def test_what_is_drawn_of_others_stays_where_turns_are_added():
    plain, turned = TrainTransform(3, 20), TrainTransform(3, 20, vflip=0.5, quarter_turns=True)
    for index in range(20):
        crop = turned.crop((64, 48), 1, index)._replace(vflip=False, quarter_turns=0)
        assert plain.crop((64, 48), 1, index) == crop


def test_a_crop_of_two_sides_keeps_shapes_as_one_of_equal_sides_does():
    transform = TrainTransform(0, (20, 40), scale=(0.1, 0.2))
    for index in range(100):
        left, top, right, bottom = transform.crop((2000, 2000), 0, index).box
        assert 0.74 < (right - left) / (bottom - top) / 2 < 1.34
