import pytest
import torch

from ssl_swin.models.decoder import Decoder, PooledDecoder


def test_each_position_is_rebuilt_as_the_square_of_pixels_below_it():
    decoder = Decoder(num_features=5, upscale=4, num_chans=3)
    features = torch.randn(2, 5, 3, 2)
    rebuilt = decoder(features)
    assert rebuilt.shape == (2, 3, 12, 8)
    changed = features.clone()
    changed[:, :, 1, 1] += 1
    rows, cols = (decoder(changed) != rebuilt).any(dim=(0, 1)).nonzero().unbind(1)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 7, 4, 7)


@pytest.mark.parametrize("norms", [False, True])
def test_as_a_convolution_or_a_matrix_product_it_predicts_the_same(norms):
    decoder = Decoder(num_features=5, upscale=4, num_chans=3, norms=norms).double()
    features = torch.randn(2, 5, 3, 2, dtype=torch.float64)
    product = decoder(features)
    decoder.convolves = True
    torch.testing.assert_close(decoder(features), product)
    if not norms:
        assert torch.equal(decoder(features), decoder.shuffle(decoder.conv(features)))


def test_with_a_norm_it_does_not_see_how_large_the_features_are():
    plain, normed = (Decoder(5, 2, 7, norms) for norms in (False, True))
    features = torch.randn(2, 5, 3, 2)
    assert normed(features).shape == (2, 7, 6, 4)
    torch.testing.assert_close(normed(features), normed(100 * features), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(plain(features), plain(100 * features), rtol=1e-3, atol=1e-3)
    assert {*normed.state_dict()} - {*plain.state_dict()} == {"norm.weight", "norm.bias"}


def test_a_vector_is_predicted_from_the_mean_of_a_map():
    decoder, features = PooledDecoder(5, 7), torch.randn(2, 5, 3, 2)
    found = decoder(features)
    assert found.shape == (2, 7, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], decoder.linear(features.mean((2, 3))))
    hidden = torch.zeros(3, 2, dtype=torch.bool)
    hidden[0], hidden[2, 1] = True, True
    of_visible = decoder.linear(features[:, :, ~hidden].mean(2))
    torch.testing.assert_close(decoder(features, hidden)[:, :, 0, 0], of_visible)
