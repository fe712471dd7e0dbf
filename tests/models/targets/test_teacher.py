from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets.teacher import at_grid, teacher
from tests.models.targets.kinds import tiny_teacher
from tests.models.test_simmim import tiny

IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def test_its_features_are_whitened_place_by_place():
    one = tiny_teacher(3)
    found = teacher(one, stride=8)(IMAGES)
    features = one.network(IMAGES)
    wanted = functional.layer_norm(features.permute(0, 2, 3, 1), (5,)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, wanted)
    assert found.mean(1).abs().max() < 1e-5


def test_it_takes_the_numbers_that_it_was_trained_on():
    one = replace(tiny_teacher(3), scale=(2.0, 3.0, 4.0), shift=(1.0, 0.0, -1.0))
    scale, shift = (torch.tensor(x).view(-1, 1, 1) for x in (one.scale, one.shift))
    wanted = teacher(tiny_teacher(3), stride=8)(IMAGES * scale + shift)
    torch.testing.assert_close(teacher(one, stride=8)(IMAGES), wanted)


def test_images_of_another_size_are_resized_and_its_grid_becomes_the_students():
    seen = []
    one = tiny_teacher(3, img_size=(32, 48))
    one = replace(one, maps=lambda images: (seen.append(images.shape), one.network(images))[1])
    found = teacher(one, stride=8)(IMAGES)
    assert seen == [(2, 3, 32, 48)]
    assert found.shape == (2, 5, 2, 3)


def test_maps_become_means_where_positions_are_whole_and_else_are_interpolated():
    maps = torch.randn(1, 2, 4, 6)
    assert at_grid(maps, (4, 6)) is maps
    torch.testing.assert_close(at_grid(maps, (2, 3))[0, :, 0, 0], maps[0, :, :2, :2].mean((1, 2)))
    assert at_grid(maps, (3, 3)).shape == (1, 2, 3, 3)
    flat = torch.full((1, 2, 7, 7), 3.0)
    torch.testing.assert_close(at_grid(flat, (6, 6)), torch.full((1, 2, 6, 6), 3.0))


def test_it_is_in_no_state_and_learns_nothing_and_draws_nothing():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv2d(3, 5, 8, 8), nn.Dropout(0.5)

        def forward(self, images):
            return self.drop(self.conv(images))

    network = Dropping().eval().requires_grad_(False)
    one = replace(tiny_teacher(3, (64, 64)), network=network, maps=network)
    model = SimMIM(tiny(), 16, teacher(one, stride=8))
    before = [value.clone() for value in network.state_dict().values()]
    model.train()
    images, mask = torch.randn(2, 3, 64, 64), torch.ones(2, 4, 4) > 0
    first, state = model(images, mask), torch.random.get_rng_state()
    model(images, mask).backward()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not network.training
    assert all(
        torch.equal(*pair) for pair in zip(before, network.state_dict().values(), strict=True)
    )
    assert all(parameter.grad is None for parameter in network.parameters())
    plain = SimMIM(tiny(), 16)
    for names in (nn.Module.state_dict, nn.Module.named_parameters, nn.Module.named_modules):
        assert [*dict(names(model))] == [*dict(names(plain))]
    assert first == model(images, mask)


def test_it_follows_the_images_precision():
    assert teacher(tiny_teacher(3), stride=8)(IMAGES.double()).dtype == torch.float64


def test_without_a_network_it_is_refused():
    with pytest.raises(UserError, match=r"give target\.teacher, such as timm:NAME"):
        teacher()
