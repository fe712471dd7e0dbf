"""What is drawn is the same on every device: masks of each kind, erased boxes and their noise."""

import pytest
import torch

from ssl_swin.models.masking import MASKS
from ssl_swin.training.erasing import Erasing
from tests.gpu.device import DEVICE

NUM = 64
EPOCH = 5


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("grid", "num_hidden"), [((6, 6), 22), ((4, 4), 10), ((12, 12), 87)])
def test_masks_are_those_of_the_cpu(kind, grid, num_hidden):
    index = torch.cat([torch.arange(5_000), 2**40 + torch.arange(5_000)])
    epochs = torch.full_like(index, EPOCH)
    here = MASKS[kind](index, epochs, 7, grid, num_hidden)
    there = MASKS[kind](index.to(DEVICE), epochs.to(DEVICE), 7, grid, num_hidden)
    assert there.device.type == DEVICE.type
    assert torch.equal(there.cpu(), here)
    assert bool((here.flatten(1).sum(1) == (0 if kind == "none" else num_hidden)).all())


def test_erased_images_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(NUM, 3, 48, 40, generator=generator)
    size = torch.randint(0, 20, (NUM, 2), generator=generator)
    place = torch.randint(0, 20, (NUM, 2), generator=generator)
    boxes = torch.cat([place, size], dim=1)
    index, epoch = torch.arange(NUM) * 2**33, torch.full((NUM,), EPOCH)
    erase, erased = Erasing(seed=3), {}
    for device in (torch.device("cpu"), DEVICE):
        batch = {"index": index.to(device), "epoch": epoch.to(device), "erased": boxes}
        erased[device.type] = erase.to(device)(images.clone().to(device), batch).cpu()
    assert torch.equal(erased["cpu"], erased[DEVICE.type])
    assert not torch.equal(erased["cpu"], images)
