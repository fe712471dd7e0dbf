"""Compiles the kernels of attention for a GPU that is not there, and prints what became of each.

python compile_for_gpus.py CAPABILITY: 80 of an A100, 90 of an H100. Nothing is computed: what calls
a kernel has it compiled, with the arguments that it would be run with.
"""

import json
import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from ssl_swin.models import window_op

PRODUCTS = {80: "mma.sync", 90: "wgmma"}  # instructions of tensor cores


class NoGpu:
    """What Triton asks of a GPU before it compiles."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: Any = None) -> int:  # noqa: ARG002
        return 0


def main() -> None:
    capability = int(sys.argv[1])
    driver.set_active(NoGpu(capability))
    compiled, run = {}, JITFunction.run

    def only_compile(kernel: Any, *given: Any, **options: Any) -> Any:
        made = run(kernel, *given, **(options | {"warmup": True}))
        name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"
        compiled[name] = PRODUCTS[capability] in made.asm["ptx"] and len(made.asm["cubin"]) > 0
        return made

    JITFunction.run = only_compile
    window_op.DEVICES = ("cpu",)
    for places in (36, 144):
        qkv = torch.zeros(8, places, 96, dtype=torch.bfloat16, requires_grad=True)
        bias = torch.zeros(1, places, places, requires_grad=True)
        visible = torch.ones(4, places, places, dtype=torch.bool)
        window_op.attend(qkv, bias, visible, 1).sum().backward()
    print(json.dumps(compiled))


if __name__ == "__main__":
    main()
