import math

import numpy as np
import pytest
import timm
import torch

from ssl_swin.models.cosine_attention import HIDDEN, CosineAttention, log_spaced
from ssl_swin.models.windows import relative_positions, split_into_windows

HEADS, DIM, WINDOW, IMAGES = 3, 12, (3, 4), 2


def layer(biased=True, dtype=torch.float64, **choices):
    torch.manual_seed(0)
    made = CosineAttention(DIM, HEADS, WINDOW, biased, (5, 2), **choices).to(dtype)
    with torch.no_grad():  # as if trained; one scale is beyond what is allowed
        made.logit_scale.copy_(torch.tensor([0.1, 2.0, 9.0]).view(3, 1, 1))
        for bias in (made.q_bias, made.v_bias):
            bias.normal_()
        if biased:
            made.cpb_mlp[2].weight.normal_()
    return made


def shifted():
    return torch.from_numpy(split_into_windows((6, 8), WINDOW, (1, 2)).visible())


def from_the_paper(made, x, visible):
    """Equation 2, token by token, with the factors of the published code."""
    out, head_dim = torch.empty_like(x), DIM // HEADS
    q, k, v = (x @ part.T for part in made.qkv.weight.split(DIM))
    q, v = q + made.q_bias, v + made.v_bias
    index = relative_positions(WINDOW)
    for window, head in torch.cartesian_prod(torch.arange(len(x)), torch.arange(HEADS)):
        part = slice(head * head_dim, (head + 1) * head_dim)
        cosines = torch.cosine_similarity(
            q[window, :, None, part], k[window, None, :, part], dim=-1
        )
        scores = cosines * min(float(made.logit_scale[head].exp()), 100.0)
        if made.cpb_mlp is not None:
            spaced = torch.from_numpy(log_spaced(WINDOW, (5, 2))).to(x.dtype)
            table = 16 * torch.sigmoid(made.cpb_mlp(spaced))
            scores = scores + table[index, head]
        if visible is not None:
            scores = scores.masked_fill(~visible[window % len(visible)], -math.inf)
        out[window, :, part] = torch.softmax(scores, dim=1) @ v[window, :, part]
    return made.proj(out)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("is_shifted", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_by_cosines_up_to_a_hundred_times(fused, is_shifted, biased):
    made, visible = layer(biased, hides_all=True), shifted() if is_shifted else None
    made.fused_attn = fused
    x = torch.randn(IMAGES * 4, 12, DIM, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            made(x, visible), from_the_paper(made, x, visible), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("hides_all", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_what_is_not_seen_has_a_score_less_by_100_as_published_or_none(hides_all, fused):
    made = layer(hides_all=hides_all)
    made.fused_attn = fused
    visible = torch.eye(12).bool().unsqueeze(0)  # all sees itself alone
    x = torch.randn(1, 12, DIM, dtype=torch.float64)
    with torch.no_grad():
        made.q_bias.copy_(torch.zeros(DIM))
        made.qkv.weight[DIM : 2 * DIM] = -made.qkv.weight[:DIM]  # a key is its query, turned round
        seen = made(x, visible)
        alone = made.proj(x @ made.qkv.weight[2 * DIM :].T + made.v_bias)
    assert torch.allclose(seen, alone, atol=1e-6) == hides_all  # 200 apart at the largest scale
    assert HIDDEN == -100.0


def test_keys_have_no_bias_and_their_length_does_not_matter():
    made = layer()
    x = torch.randn(2, 12, DIM, dtype=torch.float64)
    with torch.no_grad():
        before = made(x)
        made.qkv.weight[DIM : 2 * DIM] *= 7
        torch.testing.assert_close(made(x), before)
    assert made.q_bias.shape == made.v_bias.shape == (DIM,)
    assert made.qkv.bias is None


def test_coordinates_are_those_of_the_published_code():
    """Its numbers for a window of 3, in one of pretraining of 3 and of 5."""
    edge, half = math.log2(9) / 3, math.log2(5) / 3
    found = log_spaced((3, 3), (3, 3)).reshape(5, 5, 2)
    np.testing.assert_allclose(found[:, 0, 0], [-edge, -half, 0, half, edge], rtol=1e-6)
    np.testing.assert_allclose(found[0, :, 1], [-edge, -half, 0, half, edge], rtol=1e-6)
    found = log_spaced((3, 3), (5, 3)).reshape(5, 5, 2)
    np.testing.assert_allclose(found[4, 4], [half, edge], rtol=1e-6)
    assert not log_spaced((1, 1), (1, 1)).any()


@pytest.mark.parametrize(("side", "scale"), [(12, 12), (14, 12), (24, 12), (7, 6), (3, 3)])
def test_coordinates_round_as_those_of_timm(side, scale):
    theirs = timm.models.swin_transformer_v2.WindowAttention(
        DIM, (side, side), HEADS, pretrained_window_size=(scale, scale)
    )
    ours = torch.from_numpy(log_spaced((side, side), (scale, scale)))
    torch.testing.assert_close(
        ours.view_as(theirs.relative_coords_table), theirs.relative_coords_table, rtol=2e-7, atol=0
    )


def test_a_larger_window_has_the_bias_of_the_smaller_one_where_both_have_places():
    small = CosineAttention(DIM, HEADS, (3, 3), True, (3, 3))
    large = CosineAttention(DIM, HEADS, (5, 5), True, (3, 3))
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        inner = large.relative_bias().unflatten(2, (5, 5)).unflatten(1, (5, 5))
        inner = inner[:, 1:4, 1:4, 1:4, 1:4].reshape(HEADS, 9, 9)
        torch.testing.assert_close(inner, small.relative_bias())


def test_under_autocast_bias_and_norms_stay_float32():
    made, seen = layer(dtype=torch.float32), []
    made.cpb_mlp.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    x = torch.randn(2, 12, DIM)
    with torch.no_grad():
        exact = made(x)
        for fused in (False, True):
            made.fused_attn = fused
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = made(x)
            assert found.dtype == torch.bfloat16
            assert (found - exact).norm() < 0.15 * exact.norm()  # scores of 100 in 8 bits
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("is_shifted", [True, False])
def test_fused_and_in_steps_gradients_are_the_same(is_shifted):
    made, visible = layer(), shifted() if is_shifted else None
    x = torch.randn(IMAGES * 4, 12, DIM, dtype=torch.float64)
    grads = []
    for fused in (True, False):
        made.fused_attn = fused
        made.zero_grad()
        (made(x, visible) * torch.linspace(-1, 1, DIM)).sum().backward()
        grads.append([one.grad.clone() for one in made.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
