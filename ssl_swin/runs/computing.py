"""Config -> how the network is computed: fused, checkpointed, compiled."""

from collections.abc import Iterator

import torch
from torch import nn

from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError
from ssl_swin.models.blocks import (
    Checkpointable,
    InBlocks,
    compile_blocks,
    compiled_folder,
    fuse_attention,
    require_compiler,
)
from ssl_swin.models.encoder import Encoder


def compute_as_asked(encoder: Encoder, training: TrainingConfig) -> None:
    """Fuse attention and checkpoint blocks; see that they can be compiled.

    Raises:
        UserError: If the encoder does not allow what is asked for.
    """
    if not fuse_as_asked(encoder, training) and training.fused_attention == "on":
        raise _lacks(encoder, "training.fused_attention=on", "attention with `fused_attn`")
    if training.activation_checkpointing:
        if not isinstance(encoder, Checkpointable):
            raise _lacks(
                encoder, "training.activation_checkpointing", "method `set_grad_checkpointing`"
            )
        encoder.set_grad_checkpointing()
    if training.compile != "off" and not isinstance(encoder, InBlocks):
        raise _lacks(encoder, f"training.compile={training.compile}", "method `blocks`")


def fuse_as_asked(network: Encoder | nn.Module, training: TrainingConfig) -> int:
    """Fuse attention, or do not; return how many there are."""
    fused = training.fused_attention
    return fuse_attention(network, fused == "on" or (fused == "auto" and is_on_gpu(training)))


def compile_as_asked(encoder: Encoder, training: TrainingConfig) -> None:
    """Compile the blocks, if asked to, each when it is first used.

    Raises:
        UserError: If this machine has no compiler.
    """
    if training.compile != "off" and isinstance(encoder, InBlocks):
        require_compiler(is_on_gpu(training))
        compiled_folder()
        compile_blocks(encoder.blocks(), training.compile, training.deterministic)


def has_cuda_graphs(training: TrainingConfig) -> bool:
    """Whether blocks are replayed from CUDA graphs."""
    return training.compile == "reduce-overhead" and is_on_gpu(training)


def describe_computing(encoder: Encoder, training: TrainingConfig) -> str | None:
    """Return a line on what differs from computing as it is written down, or None."""
    said = list(_differences(encoder, training))
    return f"computing: {', '.join(said)}" if said else None


def is_on_gpu(training: TrainingConfig) -> bool:
    """Whether this machine would train on a GPU."""
    auto = training.accelerator == "auto" and torch.cuda.is_available()
    return auto or training.accelerator == "gpu"


def _differences(encoder: Encoder, training: TrainingConfig) -> Iterator[str]:
    if any(getattr(one, "fused_attn", False) for one in encoder.modules()):
        yield "fused attention"
    if training.activation_checkpointing:
        yield "blocks checkpointed"
    if training.compile != "off":
        graphs = ", CUDA graphs" if has_cuda_graphs(training) else ""
        yield f"blocks compiled in the first steps into {compiled_folder()}{graphs}"
    if training.reduce_precision == "bf16":
        yield "gradients added up over processes in bf16"


def _lacks(encoder: Encoder, setting: str, what: str) -> UserError:
    name = encoder.architecture()["name"]
    return UserError(f"{setting} is not possible: the encoder {name} has no {what}; leave it out")
