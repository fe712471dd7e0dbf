"""Stop "encode" on the route: attention within windows as one operation of torch, for GPUs.

torch does not look into it: in what is compiled it is one node. Triton is imported when it computes
for the first time.
"""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

DEVICES = ("cuda",)  # tests add the CPU, where Triton's interpreter computes
MOST_PLACES, MOST_HEAD_DIM = 256, 64
TYPES = (torch.bfloat16, torch.float16, torch.float32)
LARGEST_TILE = 64  # places along a side
NUM_PROGRAMS = 1024  # or more, of so many windows: an H100 has about half of them at a time
MOST_SHARES = 2**16 - 1  # that CUDA has in the third axis of a grid
MOST_IMAGES = 16  # of a program, for which it reads the bias and writes its gradient once


class Launch(NamedTuple):
    """How a kernel is run."""

    num_warps: int
    num_stages: int  # 3: while one image is computed, what the next two need is loaded


KERNELS = (
    *("window_kernel.forward", "window_kernel.backward", "large_window_kernel.forward"),
    *(f"large_window_kernel.backward_of_{part}" for part in ("queries", "keys", "bias")),
)
# Kernel -> side of a tile -> how it is run.
LAUNCHES = {kernel: {16: Launch(1, 3), 32: Launch(2, 3), 64: Launch(4, 3)} for kernel in KERNELS}


class Sizes(NamedTuple):
    """What a kernel is compiled for."""

    num_heads: int
    head_dim: int
    places: int  # of a window
    num_windows: int  # of an image, if some see what others do not; else each counts as an image
    block: int  # sides of tiles, powers of 2 of at least 16
    block_dim: int
    num_strips: int  # of a block's places each, that a window is cut into
    scale: float  # of scores

    @classmethod
    def of(cls, qkv: Tensor, visible: Tensor | None, num_heads: int) -> "Sizes":
        """Return those of an attention."""
        places, head_dim = qkv.shape[1], qkv.shape[2] // 3 // num_heads
        num_windows = 1 if visible is None else len(visible)
        block, block_dim = (max(16, 1 << (size - 1).bit_length()) for size in (places, head_dim))
        block = min(LARGEST_TILE, block)
        tiles = block, block_dim, -(-places // block)
        return cls(num_heads, head_dim, places, num_windows, *tiles, head_dim**-0.5)


def can_compile() -> bool:
    """Return whether Triton is here, and what it builds with: a compiler of C, Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    return bool(importlib.util.find_spec("triton") and compiler and headers.is_file())


_CAN_COMPILE = can_compile()


def is_supported(qkv: Tensor, num_heads: int) -> bool:
    """Return whether there is a kernel for this, where Triton can compile for the GPU."""
    _, places, three_dim = qkv.shape
    fits = places <= MOST_PLACES and three_dim <= 3 * num_heads * MOST_HEAD_DIM
    if not (_CAN_COMPILE and qkv.device.type in DEVICES and qkv.dtype in TYPES and fits):
        return False
    return not qkv.is_cuda or torch.cuda.get_device_properties(qkv.device).major >= 8


def attend(
    qkv: Float[Tensor, "batch_windows places three_dim"],
    bias: Float[Tensor, "heads places places"] | None,
    visible: Bool[Tensor, "windows places places"] | None,
    num_heads: int,
) -> Float[Tensor, "batch_windows places dim"]:
    """Attend as `attention_as_written` does, with what it adds to scores in its two parts.

    Scores and their softmax are float32, products those of the type of `qkv`. Gradients are the
    same bits each time; that of the bias is the sum over windows and images.
    """
    bias = None if bias is None else bias.contiguous()
    seen = None if visible is None else visible.contiguous().to(torch.uint8)
    return _attend(qkv.contiguous(), bias, seen, num_heads)[0]


@torch.library.custom_op("ssl_swin::attend_in_windows", mutates_args=())
def _attend(
    qkv: Tensor, bias: Tensor | None, visible: Tensor | None, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Return the means of the values, and the logarithms of the sums of weights."""
    out, log_sums = _results(qkv, bias, visible, num_heads)
    sizes = Sizes.of(qkv, visible, num_heads)
    kernel = "window_kernel.forward" if sizes.num_strips == 1 else "large_window_kernel.forward"
    _run(kernel, sizes, sizes.num_strips, (qkv, bias, visible, out, log_sums))
    return out, log_sums


@_attend.register_fake
def _results(
    qkv: Tensor,
    bias: Tensor | None,  # noqa: ARG001 (torch wants the operation's arguments)
    visible: Tensor | None,  # noqa: ARG001
    num_heads: int,
) -> tuple[Tensor, Tensor]:
    windows, places, three_dim = qkv.shape
    out = qkv.new_empty(windows, places, three_dim // 3)
    return out, qkv.new_empty(windows, num_heads, places, dtype=torch.float32)


@torch.library.custom_op("ssl_swin::attend_in_windows_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    visible: Tensor | None,
    out: Tensor,
    log_sums: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `qkv` and of the bias, which is empty if there is none."""
    by_qkv, by_bias = _gradients(grad, qkv, bias, visible, out, log_sums)
    sizes, parts = Sizes.of(qkv, visible, log_sums.shape[1]), None
    strips, tiles = sizes.num_strips, sizes.num_strips**2
    if bias is not None:
        num_parts = sizes.num_windows * _num_shares(sizes, tiles, len(qkv))
        parts = bias.new_empty(num_parts, *bias.shape, dtype=torch.float32)
    given = (qkv, bias, visible)
    if strips == 1:
        _run("window_kernel.backward", sizes, 1, (*given, log_sums, grad, by_qkv, parts))
    else:
        room = "large_window_kernel.backward_of"
        deltas = torch.empty_like(log_sums)
        _run(f"{room}_queries", sizes, strips, (*given, out, log_sums, grad, by_qkv, deltas))
        _run(f"{room}_keys", sizes, strips, (*given, log_sums, grad, by_qkv, deltas))
        if parts is not None:
            _run(f"{room}_bias", sizes, tiles, (*given, log_sums, grad, parts, deltas))
    return by_qkv, by_bias if parts is None else parts.sum(0).to(by_bias.dtype)


@_attend_backward.register_fake
def _gradients(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    visible: Tensor | None,  # noqa: ARG001
    out: Tensor,  # noqa: ARG001
    log_sums: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv), grad.new_empty(0) if bias is None else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor, Tensor | None, None, None]:
    by_qkv, by_bias = _attend_backward(grad.contiguous(), *ctx.saved_tensors)
    return by_qkv, by_bias if ctx.needs_input_grad[1] else None, None, None


_attend.register_autograd(_backward, setup_context=_save)


def _num_shares(sizes: Sizes, num_tiles: int, num_windows: int) -> int:
    """Return among how many programs the images of one tile of a window are dealt.

    Of sizes alone, and not of the GPU: it is the order in which the bias' gradient is summed.
    """
    num_images = num_windows // sizes.num_windows
    enough = -(-NUM_PROGRAMS // (sizes.num_heads * sizes.num_windows * num_tiles))
    return min(num_images, MOST_SHARES, max(enough, -(-num_images // MOST_IMAGES)))


def _run(name: str, sizes: Sizes, num_tiles: int, tensors: tuple[Tensor | None, ...]) -> None:
    """Run a kernel whose programs have so many parts of a window: tiles of scores, or strips."""
    module, _, kernel = name.partition(".")
    qkv = tensors[0]
    assert qkv is not None
    shares = _num_shares(sizes, num_tiles, len(qkv))
    grid = (sizes.num_heads, sizes.num_windows * num_tiles, shares)
    num_images = len(qkv) // sizes.num_windows
    run = getattr(importlib.import_module(f"ssl_swin.models.{module}"), kernel)[grid]
    launch = LAUNCHES[name][sizes.block]
    if qkv.dtype == torch.float32:  # whose products no tensor core computes: they want registers
        launch = Launch(launch.num_warps * max(2, sizes.block_dim // 16), 1)
    with torch.cuda.device_of(qkv):
        run(*tensors, num_images, sizes, **launch._asdict())
