import pytest
import torch

from ssl_swin.models.window_mlp import WindowMLP


def test_places_are_mixed_as_by_the_official_convolution():
    mixer = WindowMLP(num_heads=2, window_size=(2, 3))
    x = torch.randn(5, 6, 8)
    heads = x.view(5, 6, 2, 4).transpose(1, 2).reshape(5, 12, 4)
    theirs = mixer.spatial_mlp(heads).view(5, 2, 6, 4).transpose(1, 2).reshape(5, 6, 8)
    torch.testing.assert_close(mixer(x), theirs)


def test_a_channel_is_mixed_over_all_places_of_its_window_and_with_no_other_channel():
    mixer = WindowMLP(num_heads=2, window_size=(2, 3))
    x = torch.randn(2, 6, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(mixer(x)[0, 0, 5], x)
    assert (grad[0, :, 5] != 0).all()
    grad[0, :, 5] = 0
    assert not grad.any()


def test_it_hides_nothing():
    with pytest.raises(ValueError, match="pad shifted windows"):
        WindowMLP(2, (2, 3))(torch.randn(1, 6, 8), torch.ones(1, 6, 6).bool())
