"""Attention within windows on a GPU: our kernels, torch's, and as it is written, stage by stage.

Forward, and forward with backward, of one block of each stage, shifted where its windows can be.
Each way is recorded in a CUDA graph, so that only the device is timed. Bytes are those that must be
moved: queries, keys, values and means once in the forward; with the backward, these and their
gradients. `--sweep` also runs our kernels in other ways than `window_op.LAUNCHES` has them.

Usage: python benchmarks/gpu_attention.py [--batch 128] [--view 192/6] [--sweep]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from gpu_limits import copy_bandwidth, seconds_of
from machine import commit
from torch import Tensor

from ssl_swin.models import window_op
from ssl_swin.models.attention import attention_as_written, fused_attention
from ssl_swin.models.windows import half_window, split_into_windows

REPEATS = 10  # in one graph
PATCH, EMBED_DIM, HEAD_DIM = 4, 128, 32  # Swin-B's
WARPS, STAGES = (1, 2, 4, 8), (1, 2, 3, 4)
PROGRAMS, IMAGES = (512, 1024, 2048, 4096), (4, 8, 16, 32)


class Shape(NamedTuple):
    """One block's attention."""

    stage: int
    images: int
    grid: int
    window: int

    @property
    def num_heads(self) -> int:
        return EMBED_DIM * 2**self.stage // HEAD_DIM

    @property
    def label(self) -> str:
        shifted = "" if self.visible() is None else ", shifted"
        return f"{self.grid} x {self.grid} tokens, windows of {self.window}{shifted}"

    def visible(self) -> Tensor | None:
        """Return what a place sees, in windows shifted by half."""
        grid, window = (self.grid,) * 2, (self.window,) * 2
        seen = split_into_windows(grid, window, half_window(grid, window)).visible()
        return None if seen is None else torch.from_numpy(seen)

    def drawn(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values; the bias; a gradient."""
        windows = self.images * (self.grid // self.window) ** 2
        places, dim = self.window**2, self.num_heads * HEAD_DIM
        qkv = torch.randn(windows, places, 3 * dim, device=device, dtype=dtype)
        bias = torch.randn(self.num_heads, places, places, device=device)
        grad = torch.randn(windows, places, dim, device=device, dtype=dtype)
        return qkv.requires_grad_(), bias.requires_grad_(), grad

    def num_bytes(self, with_backward: bool, element: int = 2) -> int:
        """Return what must be moved: 4 tensors of a number per token and channel, or 11."""
        tokens, dim = self.images * self.grid**2, self.num_heads * HEAD_DIM
        sums = 4 * tokens * self.num_heads
        thirds = (3 + 1) + (3 + 1 + 3) * with_backward
        return thirds * tokens * dim * element + sums * (1 + with_backward)


Way = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]


def with_table(attend: Any) -> Way:
    """Have bias and mask added up to one table first, as a block does."""

    def run(qkv: Tensor, bias: Tensor, visible: Tensor | None, num_heads: int) -> Tensor:
        table = bias.unsqueeze(0)
        if visible is not None:
            table = table.masked_fill(~visible.unsqueeze(1), float("-inf"))
        return attend(qkv, table, num_heads)

    return run


WAYS: dict[str, Way] = {
    "ours": window_op.attend,
    "torch's": with_table(fused_attention),
    "as written": with_table(attention_as_written),
}


def shapes(img_size: int, window: int, images: int) -> Iterator[Shape]:
    """Yield the four stages of a Swin-B."""
    for stage in range(4):
        grid = img_size // PATCH // 2**stage
        yield Shape(stage, images, grid, min(grid, window))


def step_of(way: Way, shape: Shape, given: tuple[Tensor, ...], with_backward: bool) -> Any:
    """Return what is timed."""
    qkv, bias, grad = given
    visible = shape.visible()
    visible = None if visible is None else visible.to(qkv.device)

    def step() -> Any:
        if not with_backward:
            with torch.no_grad():
                return way(qkv, bias, visible, shape.num_heads)
        out = way(qkv, bias, visible, shape.num_heads)
        return out, *torch.autograd.grad(out, [qkv, bias], grad)

    return step


def seconds_on_gpu(step: Callable[[], Any], device: torch.device) -> float:
    """Return how long the device computes a step, without what this machine needs to ask for it."""
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            step()
    return seconds_of(graph.replay, device) / REPEATS


def furthest(shape: Shape, device: torch.device) -> float:
    """Return the largest relative distance of our results in bf16 from float32's as written."""
    few = shape._replace(images=min(shape.images, 2))
    qkv, bias, grad = few.drawn(device, torch.bfloat16)
    found = step_of(WAYS["ours"], few, (qkv, bias, grad), True)()
    whole = qkv.detach().float().requires_grad_(), bias, grad.float()
    expected = step_of(WAYS["as written"], few, whole, True)()
    pairs = zip(found, expected, strict=True)
    return max(((one - other).norm() / other.norm()).item() for one, other in pairs)


def compare(shape: Shape, device: torch.device, ceiling: float) -> Iterator[str]:
    """Yield a row for each way."""
    given = shape.drawn(device, torch.bfloat16)
    for name, way in WAYS.items():
        parts = []
        for with_backward in (False, True):
            try:
                took = seconds_on_gpu(step_of(way, shape, given, with_backward), device)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                parts.append(f"failed: {str(error).splitlines()[0][:60]} |")
                continue
            share = shape.num_bytes(with_backward) / took / ceiling
            parts.append(f"{1e3 * took:.3f} | {100 * share:.0f} %")
        yield f"| {shape.label} | {name} | {' | '.join(parts)} |"
    moved = " | ".join(f"{shape.num_bytes(one) / 1e6:.0f} MB |" for one in (False, True))
    yield f"| | must be moved | {moved}"


@contextmanager
def otherwise(name: str, value: Any) -> Iterator[None]:
    """Set a number of `window_op`."""
    before = getattr(window_op, name)
    setattr(window_op, name, value)
    try:
        yield
    finally:
        setattr(window_op, name, before)


def settings() -> Iterator[tuple[str, str, Any]]:
    """Yield other ways to run our kernels: words, and what of `window_op` is set to what."""
    yield "as it is", "NUM_PROGRAMS", window_op.NUM_PROGRAMS
    yield from ((f"{one} programs", "NUM_PROGRAMS", one) for one in PROGRAMS)
    yield from ((f"{one} images of a program", "MOST_IMAGES", one) for one in IMAGES)
    for warps in WARPS:
        for stages in STAGES:
            launch = dict.fromkeys((16, 32, 64), window_op.Launch(warps, stages))
            launches = dict.fromkeys(window_op.LAUNCHES, launch)
            yield f"{warps} warps, {stages} stages", "LAUNCHES", launches


def sweep(shape: Shape, device: torch.device) -> Iterator[str]:
    """Yield a row for each setting, which holds for the forward and the backward alike."""
    given = shape.drawn(device, torch.bfloat16)
    for words, name, value in settings():
        times = []
        with otherwise(name, value):
            for with_backward in (False, True):
                step = step_of(window_op.attend, shape, given, with_backward)
                try:
                    times.append(f"{1e3 * seconds_on_gpu(step, device):.3f}")
                except Exception as error:  # it asks for more of the chip than there is
                    times.append(f"failed: {type(error).__name__}")
        yield f"| {shape.label} | {words} | {' | '.join(times)} |"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="images")
    parser.add_argument("--view", default="192/6", help="pixels of an image / tokens of a window")
    parser.add_argument("--sweep", action="store_true", help="also run our kernels in other ways")
    options = parser.parse_args(arguments)
    options.sides = [int(side) for side in options.view.split("/") if side.isdigit()]
    if options.batch < 1 or len(options.sides) != 2 or min(options.sides) < 1:
        parser.error("--batch must be at least 1, and --view pixels/tokens, as in 192/6")
    found = shapes(*options.sides, options.batch)
    if any(one.grid < 1 or one.grid % one.window for one in found):
        parser.error(f"--view {options.view}: windows must divide the tokens of all four stages")
    return options


def measured(found: list[Shape], device: torch.device, ceiling: float) -> Iterator[str]:
    """Yield what is measured, as lines of a page; bytes/s of the ceiling are a copy's."""
    for shape in found:
        yield f"- furthest from float32, {shape.label}: {furthest(shape, device):.1e}"
    yield "\n| attention | whose | forward, ms | of memory | with backward, ms | of memory |"
    yield "|---|---|---|---|---|---|"
    for shape in found:
        yield from compare(shape, device, ceiling)


def main() -> None:
    options = parse(sys.argv[1:])
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    device = torch.device("cuda")
    ceiling = copy_bandwidth(device)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, commit {commit()}")
    print(
        f"A copy moves {ceiling / 1e12:.2f} TB/s, read and written. {options.batch} images, bf16."
    )
    found = list(shapes(*options.sides, options.batch))
    for line in measured(found, device, ceiling):
        print(line, flush=True)
    if options.sweep:
        print("\n| attention | how | forward, ms | with backward, ms |\n|---|---|---|---|")
        for shape in found:
            for row in sweep(shape, device):
                print(row, flush=True)


if __name__ == "__main__":
    main()
