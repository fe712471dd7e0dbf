import pytest
import torch

from ssl_swin.models.decoder import DecoderShape
from ssl_swin.models.decoders import DECODERS

OPTIONS = {"dim": 8, "depth": 1, "num_heads": 2, "positions": "sin-cos"}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("norms", [False, True])
def test_each_makes_a_prediction_of_a_map_with_the_options_of_all(name, norms):
    shape = DecoderShape(5, 2, 7, norms, (3, 4))
    decoder = DECODERS[name](shape, **OPTIONS)
    predicted = decoder(torch.randn(2, 5, 3, 4))
    assert predicted.shape == (2, 7, 6, 8)
    predicted.square().sum().backward()
    assert all(one.grad.isfinite().all() for one in decoder.parameters())


def test_the_linear_one_is_as_it_was_before_there_was_a_choice():
    torch.manual_seed(0)
    (name, weight), (bias, _) = DECODERS["linear"](
        DecoderShape(5, 2, 7, False, (3, 4))
    ).named_parameters()
    assert (name, bias) == ("conv.weight", "conv.bias")
    torch.manual_seed(0)
    assert torch.equal(weight, torch.nn.Conv2d(5, 28, 1).weight)
