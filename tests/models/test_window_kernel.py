"""The kernels, on a GPU if there is one, else in Triton's interpreter: see `tests/conftest.py`."""

import sys
from itertools import product
from typing import NamedTuple

import pytest
import torch

from ssl_swin.models import window_op
from ssl_swin.models.attention import attention_as_written
from ssl_swin.models.window_op import attend
from ssl_swin.models.windows import split_into_windows

NEEDS_TRITON = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
# Triton 3.6's interpreter takes a number out of an array as NumPy will not have it for ever.
OLD_INTERPRETER = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim > 0:DeprecationWarning"
)
pytestmark = [NEEDS_TRITON, OLD_INTERPRETER]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Case(NamedTuple):
    """An attention: each image is two windows, one above the other."""

    window: tuple[int, int]
    head_dim: int = 32
    shifted: bool = True
    biased: bool = True
    num_heads: int = 2
    num_images: int = 2

    @property
    def visible(self):
        rows, cols = self.window
        shift = (rows // 2, 0) if self.shifted else (0, 0)
        visible = split_into_windows((2 * rows, cols), self.window, shift).visible()
        return None if visible is None else torch.from_numpy(visible).to(DEVICE)

    def drawn(self, dtype=torch.float32):
        """Queries, keys and values; the bias or None; a gradient."""
        torch.manual_seed(0)
        places = self.window[0] * self.window[1]
        dim, num_windows = self.num_heads * self.head_dim, 2 * self.num_images
        qkv = torch.randn(num_windows, places, 3 * dim).to(DEVICE, dtype).requires_grad_()
        bias = torch.randn(self.num_heads, places, places).to(DEVICE).requires_grad_()
        grad = torch.randn(num_windows, places, dim).to(DEVICE, dtype)
        return qkv, bias if self.biased else None, grad

    def __str__(self):
        words = ["x".join(map(str, self.window)), f"head_dim {self.head_dim}"]
        words += ["shifted"] * self.shifted + ["biased"] * self.biased
        return ", ".join(words)


def by_kernel(qkv, bias, visible, num_heads, grad):
    """Means of the values, and gradients of what is learned."""
    out = attend(qkv, bias, visible, num_heads)
    return out, *torch.autograd.grad(out, [qkv] if bias is None else [qkv, bias], grad)


def as_written(qkv, bias, visible, num_heads, grad):
    added = None if bias is None else bias.unsqueeze(0)
    if visible is not None:
        places = visible.shape[1]
        added = qkv.new_zeros(1, num_heads, places, places) if bias is None else added
        added = added.masked_fill(~visible.unsqueeze(1), float("-inf"))
    out = attention_as_written(qkv, added, num_heads)
    return out, *torch.autograd.grad(out, [qkv] if bias is None else [qkv, bias], grad)


def assert_as_written(case):
    qkv, bias, grad = case.drawn()
    found = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    expected = as_written(qkv, bias, case.visible, case.num_heads, grad)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture
def few_programs(monkeypatch):
    """One program for each head and each window of an image, so that it has all images."""
    monkeypatch.setattr(window_op, "NUM_PROGRAMS", 1)


def with_slow(cases, core):
    return [pytest.param(c, id=str(c), marks=[] if c in core else pytest.mark.slow) for c in cases]


CORE = [Case((side, side)) for side in (4, 6, 7, 8)] + [
    *(Case((6, 6), head_dim) for head_dim in (16, 64)),
    *(Case((4, 4), 16, *how) for how in product((True, False), repeat=2)),
]
ALL = [
    Case((side, side), *how)
    for side, *how in product((4, 6, 7, 8), (16, 32, 64), (True, False), (True, False))
]


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize("case", with_slow(ALL, CORE))
def test_it_is_attention_as_written_and_so_are_its_gradients(case):
    assert_as_written(case)


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize(
    "case", [Case((3, 5)), Case((2, 4), 8), Case((4, 4), 24), Case((5, 5), num_images=3)], ids=str
)
def test_sizes_that_fill_no_tile(case):
    assert_as_written(case)


@pytest.mark.parametrize("num_programs", [1, 8])  # 3 images of a program, or 2 and 1
def test_shares_of_the_images_change_no_bit_but_how_the_gradient_of_the_bias_is_summed(
    num_programs, monkeypatch
):
    case = Case((4, 4), 16, num_images=3)
    qkv, bias, grad = case.drawn()
    apart = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    monkeypatch.setattr(window_op, "NUM_PROGRAMS", num_programs)
    shared = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    assert torch.equal(shared[0], apart[0])
    assert torch.equal(shared[1], apart[1])
    torch.testing.assert_close(shared[2], apart[2], rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_bias_is_the_sum_over_windows_and_images():
    case = Case((4, 4), 16, shifted=False)
    qkv, bias, grad = case.drawn()
    *_, whole = by_kernel(qkv, bias, None, case.num_heads, grad)
    each = [
        by_kernel(one.detach().requires_grad_(), bias, None, case.num_heads, its_grad)[2]
        for one, its_grad in zip(qkv.split(1), grad.split(1), strict=True)
    ]
    assert len(each) == 4
    assert all(one.abs().max() > 0.1 for one in each)
    torch.testing.assert_close(whole, sum(each), rtol=1e-5, atol=1e-5)


def test_hidden_places_give_exactly_nothing():
    case = Case((4, 4), 16, num_images=1)
    qkv, bias, _ = case.drawn()
    visible, dim = case.visible, qkv.shape[2] // 3
    assert not visible.all()
    out = attend(qkv, bias, visible, case.num_heads)
    for place in range(visible.shape[1]):
        (grad,) = torch.autograd.grad(out[:, place].sum(), qkv, retain_graph=True)
        of_values = grad[..., 2 * dim :].abs().sum(2)
        assert torch.equal(of_values > 0, visible[:, place])
        assert (grad[..., dim : 2 * dim].abs().sum(2)[~visible[:, place]] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the neighbours themselves
def test_a_window_reads_nothing_beside_it():
    """Not even to multiply it with 0: neighbours are not numbers."""
    case = Case((3, 3), 8, shifted=False, num_images=1)
    qkv, bias, grad = case.drawn()
    dim = grad.shape[2]
    expected = by_kernel(qkv[:1].detach().requires_grad_(), bias, None, case.num_heads, grad[:1])
    nothing = torch.full_like(qkv, torch.nan)[:1].detach()
    qkv = torch.cat([nothing, qkv[:1].detach(), nothing]).requires_grad_()
    grad = torch.cat([nothing[..., :dim], grad[:1], nothing[..., :dim]])
    out, by_qkv, _ = by_kernel(qkv, bias, None, case.num_heads, grad)
    assert torch.equal(out[1], expected[0][0])
    assert torch.equal(by_qkv[1], expected[1][0])
