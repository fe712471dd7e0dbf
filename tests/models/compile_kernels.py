"""Compile the kernels of attention as they are run, for a GPU that need not be here.

`python -m tests.models.compile_kernels 90` prints for compute capability 9.0 each kernel, with the
bytes of shared memory that a program takes.
"""

import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from ssl_swin.models.window_op import attend

BF16, WHOLE = torch.bfloat16, torch.float32
SIZES = [(16, 32, BF16), (36, 32, BF16), (49, 24, BF16), (64, 64, BF16), (36, 32, WHOLE)]
SIZES += [(196, 32, BF16), (144, 64, BF16), (144, 32, WHOLE)]


class Absent:
    """A GPU of which nothing but its kind is known."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, _):
        return 0


def compile_only(run):
    def compiled(kernel, *args, warmup, **options):  # noqa: ARG001
        made = run(kernel, *args, warmup=True, **options)
        print(kernel.__name__, made.metadata.shared, flush=True)
        return made

    return compiled


if __name__ == "__main__":
    driver.set_active(Absent(int(sys.argv[1])))
    JITFunction.run = compile_only(JITFunction.run)
    for places, head_dim, dtype in SIZES:
        qkv = torch.zeros(4, places, 3 * 2 * head_dim, dtype=dtype, requires_grad=True)
        bias = torch.zeros(2, places, places, requires_grad=True)
        visible = torch.ones(2, places, places, dtype=torch.bool)
        attend(qkv, bias, visible, 2).sum().backward()
