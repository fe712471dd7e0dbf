from itertools import product

import pytest
import torch

from ssl_swin.models import window_op
from tests.models.test_window_kernel import (
    NEEDS_TRITON,
    OLD_INTERPRETER,
    Case,
    assert_as_written,
    attend,
    by_kernel,
    few_programs,  # noqa: F401
    with_slow,
)

pytestmark = [NEEDS_TRITON, OLD_INTERPRETER]
CORE = [Case((9, 10), 16, num_heads=1, num_images=1)]
ALL = [
    *CORE,
    *(
        Case((side, side), *how, num_heads=1, num_images=1)
        for side, *how in product((12, 14), (16, 32, 64), (True, False), (True, False))
    ),
]


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize("case", with_slow(ALL, CORE))
def test_it_is_attention_as_written_and_so_are_its_gradients(case):
    assert_as_written(case)


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize("case", [Case((5, 7), 8, num_heads=1), Case((3, 6), 8, shifted=False)])
def test_strips_and_their_last_that_is_not_full(case, monkeypatch):
    """In the shifted windows the first strip is nothing that queries of the last one see."""
    monkeypatch.setattr(window_op, "LARGEST_TILE", 16)
    assert_as_written(case)


def test_hidden_places_give_exactly_nothing(monkeypatch):
    monkeypatch.setattr(window_op, "LARGEST_TILE", 16)
    case = Case((4, 8), 8, num_heads=1, num_images=1)
    qkv, bias, _ = case.drawn()
    visible = case.visible
    out = attend(qkv, bias, visible, 1)
    for place in (0, 31):
        (grad,) = torch.autograd.grad(out[:, place].sum(), qkv, retain_graph=True)
        assert torch.equal(grad[..., 16:].abs().sum(2) > 0, visible[:, place])


def test_shares_of_the_images_change_no_bit_but_how_the_gradient_of_the_bias_is_summed(
    monkeypatch,
):
    monkeypatch.setattr(window_op, "LARGEST_TILE", 16)
    case = Case((4, 5), 8, shifted=False, num_heads=1, num_images=1)
    qkv, bias, grad = case.drawn()
    apart = by_kernel(qkv, bias, case.visible, 1, grad)
    monkeypatch.setattr(window_op, "NUM_PROGRAMS", 1)
    shared = by_kernel(qkv, bias, case.visible, 1, grad)
    assert torch.equal(shared[0], apart[0])
    assert torch.equal(shared[1], apart[1])
    torch.testing.assert_close(shared[2], apart[2], rtol=1e-5, atol=1e-5)
