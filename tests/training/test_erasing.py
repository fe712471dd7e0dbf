import hashlib

import numpy as np
import pytest
import torch

from ssl_swin.data.pixels.erasing import erased_box
from ssl_swin.draw import Purpose, normals
from ssl_swin.training.erasing import Erasing

SIDE, FIRST = 40, 10**9
COUNTER = Erasing(3)


def share(num, epoch=2, probability=0.7):
    """Places, passes and drawn boxes of so many images."""
    index = torch.arange(FIRST, FIRST + 7 * num, 7)
    boxes = [erased_box((SIDE, SIDE), probability, 3, epoch, i) for i in index.tolist()]
    return {"index": index, "epoch": torch.full((num,), epoch), "erased": torch.tensor(boxes)}


def blank(num, chans=3, dtype=torch.float32):
    return torch.full((num, chans, SIDE, SIDE), 9.0, dtype=dtype)


def part(batch, start, stop):
    return {name: value[start:stop] for name, value in batch.items()}


@pytest.mark.parametrize("draws", ["counter", "numpy"])
@pytest.mark.parametrize("chans", [1, 3, 6])
def test_the_boxes_are_filled_and_nothing_else(draws, chans):
    batch = share(30)
    found = Erasing(3, draws)(blank(30, chans), batch)
    inside = torch.zeros(30, 1, SIDE, SIDE, dtype=torch.bool)
    for place, (top, left, height, width) in enumerate(batch["erased"].tolist()):
        inside[place, :, top : top + height, left : left + width] = True
    assert inside.any(3).any(2).sum() not in (0, 30)
    assert torch.equal(found != 9, inside.expand_as(found))


@pytest.mark.parametrize("draws", ["counter", "numpy"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_noise_does_not_depend_on_how_the_share_is_cut(draws, size):
    erasing, batch = Erasing(3, draws), share(8)
    whole = erasing(blank(8), batch)
    cut = [erasing(blank(8)[i : i + size], part(batch, i, i + size)) for i in range(0, 8, size)]
    assert torch.equal(torch.cat(cut), whole)


def test_noise_is_of_the_pixel_whatever_the_box():
    batch = share(2)
    all_of_it, some = torch.tensor([[0, 0, SIDE, SIDE]] * 2), torch.tensor([[5, 7, 9, 20]] * 2)
    whole = COUNTER(blank(2), batch | {"erased": all_of_it})
    found = COUNTER(blank(2), batch | {"erased": some})
    assert torch.equal(found[:, :, 5:14, 7:27], whole[:, :, 5:14, 7:27])
    for other in (
        Erasing(4)(blank(2), batch | {"erased": all_of_it}),
        COUNTER(blank(2), batch | {"erased": all_of_it, "epoch": batch["epoch"] + 1}),
        COUNTER(blank(2), batch | {"erased": all_of_it, "index": batch["index"] + 1}),
        whole.flip(0),
        whole.roll(1, 1),
        whole.roll(1, 3),
    ):
        assert (other == whole).float().mean() < 1e-3


def test_noise_is_normal_and_its_pixels_know_nothing_of_each_other():
    num = 200
    batch = {"index": torch.arange(num), "epoch": torch.zeros(num, dtype=torch.int64)}
    batch["erased"] = torch.tensor([[0, 0, SIDE, SIDE]] * num)
    noise = COUNTER(blank(num, dtype=torch.float64), batch)  # 960,000 numbers
    assert abs(noise.mean()) < 5e-3
    for power, moment in ((2, 1.0), (3, 0.0), (4, 3.0)):
        assert abs((noise**power).mean() - moment) < 0.03
    ordered = noise.flatten().sort().values
    expected = torch.special.ndtr(ordered)
    found = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    assert (expected - found).abs().max() < 2e-3  # Kolmogorov-Smirnov, 0.1 %
    for axis in range(4):
        assert abs((noise * noise.roll(1, axis)).mean()) < 5e-3


def test_noise_is_what_it_always_was():
    batch = share(4, probability=1.0)
    found = COUNTER(blank(4), batch).numpy()
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "a63370a56aeee67a"


def test_numpys_noise_is_that_of_version_0_1():
    batch = share(30)
    found = Erasing(3, "numpy")(blank(30), batch)
    for place, (top, left, height, width) in enumerate(batch["erased"].tolist()):
        key = (Purpose.ERASING, 3, 2, int(batch["index"][place]), 1)
        noise = normals(3 * height * width, *key).astype(np.float32)
        expected = blank(1)[0]
        expected[:, top : top + height, left : left + width] = torch.from_numpy(
            noise.reshape(3, height, width)
        )
        assert torch.equal(found[place], expected)


def test_the_precision_is_that_of_the_images():
    batch = share(4, probability=1.0)
    single, double = (COUNTER(blank(4, dtype=kind), batch) for kind in (torch.float, torch.double))
    assert torch.equal(single.double(), double)


def test_the_device_is_not_asked_for_a_number():
    batch = share(8)
    there = {name: value if name == "erased" else value.to("meta") for name, value in batch.items()}
    assert Erasing(3).to("meta")(blank(8).to("meta"), there).is_meta
