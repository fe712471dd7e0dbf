"""The kernels as a GPU computes them: in bf16, the same each time, compiled, in the encoder."""

import pytest
import torch
from torch._dynamo.utils import counters

from ssl_swin.models.blocks import compile_blocks, fuse_attention
from tests.gpu.device import needs_gpu
from tests.models.test_blocks import NUM_BLOCKS, WARNINGS, drawn, learned, swin
from tests.models.test_window_kernel import Case, as_written, by_kernel
from tests.models.test_window_op import Runs

pytestmark = [pytest.mark.gpu, needs_gpu("Triton compiles the kernels for one"), *WARNINGS]
CASES = [
    *(Case((side, side), num_images=8) for side in (4, 5, 6, 7, 8, 9, 12, 14)),
    *(Case((side, side), head_dim) for side in (6, 12) for head_dim in (12, 16, 64)),
    Case((6, 6), shifted=False, num_images=64),
    Case((6, 6), biased=False),
    Case((14, 14), shifted=False, biased=False),
    Case((3, 5), num_heads=3, num_images=33),
]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
    ids=str,
)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_float32_as_written_within_the_rounding_of_its_type(case, dtype, tolerance):
    """The numbers that are given are those of the type, on both sides."""
    qkv, bias, grad = case.drawn(dtype)
    found = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    whole = qkv.detach().float().requires_grad_()
    expected = as_written(whole, bias, case.visible, case.num_heads, grad.float())
    assert found[0].dtype == found[1].dtype == dtype
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("case", [Case((6, 6), num_images=500), Case((12, 12), num_images=40)])
def test_it_gives_the_same_bits_each_time(case):
    qkv, bias, grad = case.drawn(torch.bfloat16)
    given = (qkv, bias, case.visible, case.num_heads, grad)
    first = by_kernel(*given)
    for _ in range(3):
        assert all(map(torch.equal, by_kernel(*given), first))


@pytest.mark.parametrize("num_images", [1, 15, 16, 17, 300])
def test_any_number_of_images(num_images):
    case = Case((6, 6), num_images=num_images)
    qkv, bias, grad = case.drawn()
    found = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    expected = as_written(qkv, bias, case.visible, case.num_heads, grad)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


def found_by(encoder, dtype):
    with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        features, grads = learned(encoder, drawn(8).cuda())
    return [features, *grads]


def assert_near(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(None, 1e-4), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)], ids=str
)
def test_a_whole_encoder_computes_with_it(dtype, tolerance):
    encoder = swin().cuda()
    expected = found_by(encoder, None)
    fuse_attention(encoder, True)
    with Runs() as runs:
        found = found_by(encoder, dtype)
    assert [*runs.counts.values()] == [NUM_BLOCKS, NUM_BLOCKS]
    assert_near(found, expected, tolerance)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_blocks_have_it_in_one_graph(mode):
    encoder = swin().cuda()
    fuse_attention(encoder, True)
    expected = found_by(encoder, torch.bfloat16)
    torch._dynamo.reset()
    counters.clear()
    compile_blocks(encoder.blocks(), mode)  # whole graphs, or an error
    for _ in range(3):
        found = found_by(encoder, torch.bfloat16)
    assert counters["stats"]["unique_graphs"] == NUM_BLOCKS
    assert not counters["graph_break"]
    assert_near(found, expected, 2e-2)
    torch._dynamo.reset()


def test_checkpointed_blocks_compute_the_same_bits(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS promises nothing
    encoder, found = swin(0.5).cuda(), []
    fuse_attention(encoder, True)
    for checkpointed in (False, True):
        encoder.set_grad_checkpointing(checkpointed)
        torch.use_deterministic_algorithms(True)  # of what sums the table's gradient
        try:
            found.append(found_by(encoder, torch.bfloat16))
        finally:
            torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *found))


def test_another_gpu_than_the_first_computes_on_itself():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs 2 GPUs")
    case = Case((6, 6))
    qkv, bias, grad = case.drawn()
    first = by_kernel(qkv, bias, case.visible, case.num_heads, grad)
    there = [one.detach().to("cuda:1") for one in (qkv, bias, grad)]
    qkv, bias, grad = there[0].requires_grad_(), there[1].requires_grad_(), there[2]
    second = by_kernel(qkv, bias, case.visible.to("cuda:1"), case.num_heads, grad)
    assert all(
        torch.equal(one, other.to("cuda:0")) for one, other in zip(first, second, strict=True)
    )
