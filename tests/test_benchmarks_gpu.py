"""What `benchmarks/gpu.py` does on a GPU, as far as it can be tried without one."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("gpu")
    sys.path.remove(str(ROOT / "benchmarks"))


FIRST = (
    "ours, fused attention",
    "timm, eager",
    "ours, fused attention, compiled (default)",
    "timm, compiled (default)",
)
LATER = ("profile", "curves")


def cases(gpu):
    return [one for one in gpu.plan(on_gpu=True) if isinstance(one, gpu.Case)]


def test_the_plan_holds_what_was_asked_for_and_nothing_twice(gpu):
    found = cases(gpu)
    assert len({one.label for one in found}) == len(found)
    sizes = {(one.size, one.img_size, one.window_size) for one in found}
    names, views = ("Swin-T", "Swin-B", "Swin-L"), ((192, 6), (128, 4))
    assert sizes == {(name, *view) for name in names for view in views}
    for name in names:
        of = [one for one in found if one.size == name]
        assert {one.batch for one in of} == {64, 128, 256}
        assert {"eager", "fused attention", "fused attention, checkpointed"} <= {o.how for o in of}
        assert any(one.compiled == "default" for one in of)
        assert any(one.finetune for one in of)
        assert {one.whose for one in of} == {"ours", *gpu.PEERS}
    labels = [one if isinstance(one, str) else one.label for one in gpu.plan(on_gpu=True)]
    swin_b = "Swin-B 192/6, 128 images, bf16"
    first = [f"{swin_b}: {whose}" for whose in FIRST]
    assert labels[:7] == [*first, "Swin-L 192/6, 128 images, bf16: ours, fused attention", *LATER]


def test_every_network_of_the_plan_can_be_built_and_takes_its_batch(gpu):
    """Without memory and without numbers: on the device "meta"."""
    seen = {}
    for one in cases(gpu):
        seen[one.size, one.img_size, one.finetune] = one
    for case in seen.values():
        eager = replace(case, batch=2, whose="ours", compiled="off")
        module, batch = gpu.build(eager, torch.device("meta"))
        assert module.loss(module.micro_batch(batch, 0, 2)).shape == ()


def test_nothing_but_the_budget_ends_the_day(gpu, monkeypatch, capsys):
    def fail(error):
        def timed(*_):
            raise error

        monkeypatch.setattr(gpu, "time_case", timed)
        return gpu.attempt(cases(gpu)[0], torch.device("cpu"), 1.0).told

    assert fail(torch.OutOfMemoryError("CUDA out of memory")) == "out of memory"
    missing = ModuleNotFoundError("No module named 'transformers'", name="transformers")
    assert fail(missing) == "not measured: transformers is not installed"
    assert fail(RuntimeError("CUDA error:\nmore")) == "failed: RuntimeError: CUDA error:"
    assert "CUDA error" in capsys.readouterr().err
    with pytest.raises(gpu.OutOfTime):
        fail(gpu.OutOfTime())


def row_of(gpu, images_per_s, size="Swin-B", peak_bytes=None, **others):
    case = gpu.Case(size, 192, 6, 128, **others)
    return gpu.Row(case, gpu.Timing(128 / images_per_s, 1.0, 9, peak_bytes), counts=(1e11, 1, 1))


def test_what_was_asked_for_is_held_against_the_fastest_of_each(gpu):
    asked, curves = sys.modules["gpu_asked"].asked, sys.modules["gpu_curves"].Curves
    day = gpu.Day(torch.device("cpu"), {"published": 1e15, "bf16": 5e14, "memory": 1e12})
    assert asked(day).count("| the same: 2,500 images/s | not measured | |") == 1
    assert not any("met |" in line for line in asked(day))
    day.rows = [
        row_of(gpu, 3000, fused=True, compiled="default"),
        row_of(gpu, 9000, fused=True, finetune=True),
        row_of(gpu, 2000, fused=True),
        row_of(gpu, 1400, whose="timm", fused=True),
        row_of(gpu, 1600, whose="timm"),
        row_of(gpu, 2400, whose="timm", compiled="default"),
        gpu.Row(gpu.Case("Swin-L", 192, 6, 128, fused=True), told="out of memory"),
    ]
    day.curves = curves([1.0] * 300, [1.0] * 290 + [1.02] * 10, [1.0] * 280 + [1.04] * 20)
    lines = asked(day)
    assert "| Swin-B 192/6, 128 images, bf16: 2 times timm eager | 1.875 | not met |" in lines
    assert "| the same: 1.2 times timm compiled | 1.25 | met |" in lines
    assert "| the same: 2,500 images/s | 3000 | met |" in lines
    assert "| the same: MFU of 35 % | 30 | not met |" in lines
    assert any("out of memory: Swin-L" in line and line.endswith("| not met |") for line in lines)
    assert any("300 steps, 0.0100 apart, other masks 0.0400 | met |" in line for line in lines)
    assert lines[-1].endswith("ours, fused attention, compiled (default).")
    day.rows.append(row_of(gpu, 900, size="Swin-L", fused=True, peak_bytes=2**36))
    assert any("| 64.0 GiB: Swin-L" in line and line.endswith("| met |") for line in asked(day))


def test_losses_that_are_compared_are_of_the_same_images(gpu):
    curves = sys.modules["gpu_curves"]
    case = gpu.Case("demo", 64, 4, 2, precision="fp32")
    found = curves.train_all(case, torch.device("cpu"), steps=3)
    assert found.float32[0] == pytest.approx(found.bf16[0], rel=2e-2)
    assert found.float32 != found.bf16  # it was computed in another type
    assert found.float32[0] != pytest.approx(found.others[0], rel=1e-3)  # of other masks
    assert len(curves.table(found)) == 5


KERNELS = {  # names as a profiler gives them on a GPU
    "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT": "matrix products",
    "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16>": "matrix products",
    "backward_of_keys": "attention, ours",
    "forward": "attention, ours",
    "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention)": "attention, fused",
    "void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel": "attention, fused",
    "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16>": "norm",
    "void at::native::(anonymous namespace)::GammaBetaBackwardCUDAKernelTemplate<float>": "norm",
    "void at::native::vectorized_elementwise_kernel<4, GeluBackwardCUDAKernelImpl>": "GELU",
    "void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor<float>>": (
        "optimiser and clipping"
    ),
    "void cunn_SoftMaxForward<4, c10::BFloat16>": "softmax",
    "Memcpy DtoD (Device -> Device)": "windows: rolls, copies, changes of type",
    "void at::native::roll_cuda_kernel<c10::BFloat16>": "windows: rolls, copies, changes of type",
    "void at::native::reduce_kernel<512, 1, ReduceOp<float>>": "sums",
    "triton_per_fused_native_layer_norm_0": "compiled by Triton",
    "void at::native::vectorized_elementwise_kernel<4, CUDAFunctor_add<c10::BFloat16>>": (
        "elementwise"
    ),
}


def test_kernels_are_of_the_part_that_they_compute(gpu):  # noqa: ARG001
    part_of = sys.modules["gpu_profile"].part_of
    assert {name: part_of(name) for name in KERNELS} == KERNELS


def test_page_and_plot_of_a_day(gpu, tmp_path):
    one, other, *_ = cases(gpu)
    limits = dict.fromkeys(("bf16", "fp32", "tf32", "published"), 1e14) | {
        "memory": 4e12,
        "transfer": 5e10,
    }
    rows = [
        gpu.Row(one, gpu.Timing(0.1, 0.5, 20, 2**35), counts=(68.3e9, 1e9, 1e10)),
        gpu.Row(other, told="out of memory"),
    ]
    day = gpu.Day(torch.device("cpu"), limits, rows, left_out=["a case: no time was left"])
    page, plot = gpu.write(day, tmp_path)
    text = page.read_text("utf-8")
    assert f"| {one.label} | 1280.0 | 100.0 | 0.5 | 32.0 | 87 % | 87 % | 34 % |" in text
    assert f"| {other.label} | out of memory |" in text
    assert "- a case: no time was left" in text
    drawn = ElementTree.parse(plot).getroot().iter("{http://www.w3.org/2000/svg}text")
    assert "1280, 87 %" in [one.text for one in drawn]


def test_counts_are_those_of_the_products_and_of_their_operands(gpu):  # noqa: ARG001
    limits = sys.modules["gpu_limits"]
    a, b = torch.zeros(8, 16), torch.zeros(16, 32)
    assert limits.count_flops(lambda: a @ b) == 2 * 8 * 16 * 32
    moved = 4 * (8 * 16 + 16 * 32 + 8 * 32)
    assert limits.count_bytes(lambda: a.view(8, 16).T.T @ b) == moved


@pytest.fixture(scope="module")
def gpu_attention(gpu):  # noqa: ARG001
    return importlib.import_module("gpu_attention")


def test_attention_is_timed_in_the_blocks_of_a_swin(gpu_attention):
    found = list(gpu_attention.shapes(192, 6, 128))
    assert [(one.grid, one.window, one.num_heads) for one in found] == [
        (48, 6, 4),
        (24, 6, 8),
        (12, 6, 16),
        (6, 6, 32),
    ]
    assert [one.visible() is None for one in found] == [False, False, False, True]
    qkv, _, grad = found[3].drawn(torch.device("meta"), torch.bfloat16)
    assert qkv.shape == (128, 36, 3 * 1024)
    tensors, sums = qkv.nbytes + grad.nbytes, 4 * 128 * 32 * 36
    assert found[3].num_bytes(with_backward=False) == tensors + sums
    assert found[3].num_bytes(with_backward=True) == 2 * tensors + qkv.nbytes + 2 * sums


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
def test_all_ways_of_attention_that_are_timed_give_the_same(gpu_attention):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = gpu_attention.Shape(stage=0, images=1, grid=8, window=4)
    given = shape.drawn(device, torch.float32)
    first, *others = (
        gpu_attention.step_of(way, shape, given, True)() for way in gpu_attention.WAYS.values()
    )
    assert len(others) == 2
    for other in others:
        for one, its in zip(first, other, strict=True):
            torch.testing.assert_close(its, one, rtol=1e-4, atol=1e-4)
