"""How an encoder's blocks are computed: fused, checkpointed, compiled; only rounding moves.

What an encoder may have for it beside what `Encoder` asks for: `blocks`, to be compiled;
`set_grad_checkpointing`; and attention with timm's switch `fused_attn`.
"""

import importlib.util
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder

_FUSED = "fused_attn"  # timm's switch; ours, too


@runtime_checkable
class InBlocks(Protocol):
    """An encoder that can be reached block by block."""

    def blocks(self) -> list[nn.Module]:
        """Return its blocks, in order; each makes one tensor of another, and what all share."""


@runtime_checkable
class Checkpointable(Protocol):
    """An encoder that need not keep what its blocks compute; under timm's name."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep of each block its input alone, and compute the rest again in the backward."""


def fuse_attention(network: Encoder | nn.Module, on: bool) -> int:
    """Have attention computed by one kernel, ours or torch's, or in steps; return how many change.

    In torch's, scores have the type of the queries, and so under autocast the table of positions is
    rounded to bf16; in ours and in steps it stays float32, and makes scores and softmax so.
    """
    found = [one for one in network.modules() if hasattr(one, _FUSED)]
    for one in found:
        setattr(one, _FUSED, on)
    return len(found)


def compile_blocks(
    blocks: list[nn.Module],
    mode: str,
    deterministic: bool = False,
    backend: str | Callable[..., Any] = "inductor",
) -> None:
    """Compile each block for training, with torch's `mode`; names in the state stay as they are.

    Each batch size has a graph of its own, so that no number depends on the sizes seen before, and
    measuring, which has many, is not compiled. What is drawn at random is drawn as without.
    """
    options = {**torch._inductor.list_mode_options(mode), "fallback_random": True}
    options |= {"deterministic": True} if deterministic else {}
    dynamo = torch._dynamo.config
    # Blocks share their code, and where drop path is on no two of them share a graph.
    dynamo.recompile_limit = max(dynamo.recompile_limit, 8 * len(blocks))
    dynamo.optimize_ddp = False  # a block is less than what it would cut a graph into
    for block in blocks:
        whole = torch.compile(
            block.forward, fullgraph=True, dynamic=False, options=options, backend=backend
        )
        block.forward = _in_training(block, whole, block.forward)


def _in_training(
    block: nn.Module, compiled: Callable[..., Tensor], eager: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    return lambda *given: compiled(*given) if block.training else eager(*given)


def require_compiler(on_gpu: bool) -> None:
    """Check that this machine can compile what torch writes: C++ for CPUs, Triton for GPUs.

    Raises:
        UserError: If a compiler is missing, or Triton.
    """
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++",))
    given = os.environ.get(variable)
    missing = "" if any(map(shutil.which, (given,) if given else names)) else "a compiler"
    if on_gpu and importlib.util.find_spec("triton") is None:
        missing = "Triton"
    if missing:
        raise UserError(
            f"training.compile needs {missing}, and this machine has none ({variable}="
            f"{given or ' or '.join(names)}); load one (module load gcc), or training.compile=off"
        )


def compiled_folder() -> Path:
    """Return where compiled blocks are kept, on this machine: TORCHINDUCTOR_CACHE_DIR, or `TMPDIR`.

    It is the user's alone, since what is found there is run; torch's own is anybody's to make.
    """
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(given)
    folder = Path(tempfile.gettempdir(), f"ssl_swin-compiled-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return folder
