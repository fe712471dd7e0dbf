"""The operation as torch sees it: in the encoder, compiled, checkpointed, under autocast."""

import os
import subprocess
import sys
import sysconfig
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_swin.models import window_op
from ssl_swin.models.blocks import compile_blocks, fuse_attention
from ssl_swin.models.window_op import Sizes, is_supported
from tests.models.test_blocks import (
    NUM_BLOCKS,
    WARNINGS,
    compiler,  # noqa: F401
    drawn,
    learned,
    swin,
)
from tests.models.test_window_kernel import (
    DEVICE,
    NEEDS_TRITON,
    OLD_INTERPRETER,
    Case,
    few_programs,  # noqa: F401
)

pytestmark = [NEEDS_TRITON, OLD_INTERPRETER, *WARNINGS]
CASE = Case((4, 4), 8, num_images=1)


@pytest.fixture
def on_this_device(monkeypatch, few_programs):  # noqa: ARG001, F811
    """The kernel is taken on the CPU, too."""
    monkeypatch.setattr(window_op, "DEVICES", (DEVICE,))
    monkeypatch.setattr(window_op, "_CAN_COMPILE", True)


class Runs(TorchDispatchMode):
    """Counts how often the operation is computed, and its backward."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "ssl_swin":
            self.counts[func._opname] += 1
        return func(*args, **(kwargs or {}))


def found_by(encoder, autocast=False):
    with Runs() as runs, torch.autocast(DEVICE, torch.float16, enabled=autocast):
        features, grads = learned(encoder, drawn(1).to(DEVICE))
    return [features, *grads], [*runs.counts.values()]


def assert_near(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def test_torch_may_rely_on_what_it_is_told_of_it():
    """Shapes without numbers, strides, gradients; and nothing given is written over."""
    qkv, bias, _ = CASE.drawn()
    for given in ((qkv, bias, CASE.visible.view(torch.uint8)), (qkv, None, None)):
        torch.library.opcheck(window_op._attend, (*given, CASE.num_heads))


@pytest.mark.usefixtures("on_this_device")
@pytest.mark.parametrize("autocast", [False, True])
def test_an_encoder_computes_the_same_with_it(autocast):
    """In shifted blocks and others. bf16 is none of the types of Triton's interpreter."""
    encoder = swin().to(DEVICE)
    expected, runs = found_by(encoder)
    assert runs == []
    fuse_attention(encoder, True)
    found, runs = found_by(encoder, autocast)
    assert runs == [NUM_BLOCKS, NUM_BLOCKS]
    assert_near(found, expected, 1e-2 if autocast else 2e-5)


@pytest.mark.usefixtures("on_this_device")
def test_checkpointed_blocks_compute_the_same_bits():
    encoder = swin(0.5).to(DEVICE)
    fuse_attention(encoder, True)
    expected, _ = found_by(encoder)
    encoder.set_grad_checkpointing()
    found, runs = found_by(encoder)
    assert runs == [2 * NUM_BLOCKS, NUM_BLOCKS]
    assert all(map(torch.equal, found, expected))


@pytest.mark.usefixtures("on_this_device")
def test_a_compiled_block_is_one_graph(compiler):  # noqa: F811
    encoder = swin().to(DEVICE)
    fuse_attention(encoder, True)
    expected, _ = found_by(encoder)
    compile_blocks(encoder.blocks(), "default", backend=compiler)
    found = learned(encoder, drawn(1).to(DEVICE))
    assert compiler.num_graphs == NUM_BLOCKS
    assert_near([found[0], *found[1]], expected, 1e-5)


def test_what_there_is_no_kernel_for_is_left_to_torch(monkeypatch):
    def is_for(device="cpu", places=36, head_dim=32, dtype=torch.float32):
        qkv = torch.empty(2, places, 3 * 2 * head_dim, dtype=dtype, device=device)
        return is_supported(qkv, 2)

    assert not is_for()  # on a CPU
    assert not is_for("meta")
    monkeypatch.setattr(window_op, "DEVICES", ("cpu",))
    monkeypatch.setattr(window_op, "_CAN_COMPILE", True)
    assert all(is_for(places=one) for one in (1, 36, 49, 64, 144, 196, 256))
    assert all(is_for(head_dim=one) for one in (1, 24, 64))
    assert is_for(dtype=torch.bfloat16)
    assert not is_for(places=257)
    assert not is_for(head_dim=65)
    assert not is_for(dtype=torch.float64)
    monkeypatch.setattr(window_op, "_CAN_COMPILE", False)
    assert not is_for()


def test_triton_wants_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "a compiler")
    headers = tmp_path / "Python.h"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert not window_op.can_compile()
    headers.touch()
    assert window_op.can_compile()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not window_op.can_compile()


@pytest.mark.parametrize("num_images", [1, 7, 128, 8192])
@pytest.mark.parametrize(("num_heads", "num_tiles"), [(4, 1), (32, 1), (4, 9)])
def test_a_gpu_is_filled_or_each_image_has_a_program(num_heads, num_tiles, num_images):
    for num_windows in (1, 64):
        sizes = Sizes(num_heads, 32, 36, num_windows, 64, 32, 1, 1.0)
        shares = window_op._num_shares(sizes, num_tiles, num_images * num_windows)
        programs = shares * num_heads * num_windows * num_tiles
        assert shares == num_images or programs >= window_op.NUM_PROGRAMS
        assert num_images / window_op.MOST_IMAGES <= shares <= num_images


@pytest.mark.slow
def test_cuda_has_room_for_the_programs_of_any_number_of_images():
    sizes = Sizes(3, 32, 36, 1, 64, 32, 1, 1.0)
    assert window_op._num_shares(sizes, 1, 2**21) == 2**16 - 1


def test_an_encoder_needs_no_triton():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from ssl_swin.models.blocks import fuse_attention\n"
        "from tests.models.test_blocks import drawn, learned, swin\n"
        "encoder = swin()\n"
        "fuse_attention(encoder, True)\n"
        "learned(encoder, drawn(1))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SHARED = {80: 163, 89: 99, 90: 227}  # KiB of an A100, an RTX 4090, an H100 for one program


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED)
def test_kernels_compile_for_gpus_that_are_not_here(capability, tmp_path):
    """What the interpreter does not see: Triton's types, and what of a GPU's memory they take."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.compile_kernels", str(capability)],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _ in found} == {name.partition(".")[2] for name in window_op.KERNELS}
    assert max(int(shared) for _, shared in found) <= SHARED[capability] * 2**10
