import pytest
import torch

from ssl_swin.models.attention import (
    WindowAttention,
    attention,
    attention_as_written,
    fused_attention,
)
from ssl_swin.models.windows import relative_positions, split_into_windows

WAYS = {"steps": attention, "fused": fused_attention}
HEADS, DIM, IMAGES = 3, 12, 2


def inputs(visible=None, biased=True, window=(3, 4), dtype=torch.float64):
    """Queries, keys and values of two images' windows, and their bias."""
    torch.manual_seed(0)
    layer = WindowAttention(DIM, HEADS, window, relative_bias=biased).to(dtype)
    if biased:
        torch.nn.init.normal_(layer.relative_position_bias_table)
    with torch.no_grad():
        bias = layer.bias(visible)
    num_windows = 4 if visible is None else len(visible)
    qkv = torch.randn(IMAGES * num_windows, window[0] * window[1], 3 * DIM, dtype=dtype)
    return qkv.requires_grad_(), None if bias is None else bias.requires_grad_()


def shifted():
    return torch.from_numpy(split_into_windows((6, 8), (3, 4), (1, 2)).visible())


def from_the_paper(qkv, bias):
    """Equation 4, window by window and head by head."""
    out, head_dim = torch.empty(*qkv.shape[:2], DIM, dtype=qkv.dtype), DIM // HEADS
    for window, head in torch.cartesian_prod(torch.arange(len(qkv)), torch.arange(HEADS)):
        part = slice(head * head_dim, (head + 1) * head_dim)
        q, k, v = (one[:, part] for one in qkv[window].split(DIM, dim=1))
        scores = q @ k.T / head_dim**0.5
        if bias is not None:
            scores = scores + bias[window % len(bias), head]
        out[window, :, part] = torch.softmax(scores, dim=1) @ v
    return out


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("is_shifted", [True, False])
@pytest.mark.parametrize("way", ["written", *WAYS])
def test_attention_is_equation_4(way, is_shifted, biased):
    qkv, bias = inputs(shifted() if is_shifted else None, biased)
    found = (WAYS | {"written": attention_as_written})[way](qkv, bias, HEADS)
    torch.testing.assert_close(found, from_the_paper(qkv, bias))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("is_shifted", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_its_gradients_are_those_of_what_is_written(way, is_shifted, biased):
    qkv, bias = inputs(shifted() if is_shifted else None, biased)
    given = [qkv] if bias is None else [qkv, bias]
    grad = torch.randn(*qkv.shape[:2], DIM, dtype=qkv.dtype)
    expected = torch.autograd.grad(attention_as_written(qkv, bias, HEADS), given, grad)
    found = torch.autograd.grad(WAYS[way](qkv, bias, HEADS), given, grad)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_passes_between_places_that_do_not_see_one_another():
    torch.manual_seed(0)
    visible, layer = shifted(), WindowAttention(DIM, HEADS, (3, 4))
    x = torch.randn(len(visible), 12, DIM, requires_grad=True)
    for place in range(12):
        (grad,) = torch.autograd.grad(layer(x, visible)[:, place].sum(), x)
        assert torch.equal(grad.abs().sum(2) > 0, visible[:, place])


def test_the_bias_depends_on_the_displacement_alone():
    layer = WindowAttention(DIM, HEADS, (3, 4))
    (bias,) = layer.bias()
    positions = torch.from_numpy(relative_positions((3, 4)))
    for row in positions.unique():
        for head in range(HEADS):
            (value,) = bias[head][positions == row].unique()
            assert value == layer.relative_position_bias_table[row, head]


def test_the_bias_is_learned():
    layer = WindowAttention(DIM, HEADS, (3, 4))
    layer(torch.randn(2, 12, DIM)).square().sum().backward()
    assert (layer.relative_position_bias_table.grad.abs().sum(1) > 0).all()
    assert WindowAttention(DIM, HEADS, (3, 4), relative_bias=False).bias() is None


@pytest.mark.parametrize("fused", [True, False])
def test_under_autocast_it_is_float32_within_the_rounding_of_bf16(fused):
    torch.manual_seed(0)
    visible, layer = shifted(), WindowAttention(DIM, HEADS, (3, 4))
    x = torch.randn(2 * len(visible), 12, DIM)
    whole = layer(x, visible)
    layer.fused_attn = fused
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x, visible)
    assert half.dtype == torch.bfloat16
    assert (half - whole).norm() < 2e-2 * whole.norm()
