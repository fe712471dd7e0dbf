"""Weights, gradients and moments of which each rank holds its part: FSDP2.

Before a block is used, all ranks gather its weights together; so all must use it equally often.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ssl_swin.models.blocks import InBlocks
from ssl_swin.training.restarts import MeetsAnew

# How the callbacks and the step reach the network; see `Learner` and `PretrainModule`.
_WAYS_IN = ("loss", "measure", "reconstruct", "features", "features_of_stages")


class FullyShardedStrategy(MeetsAnew):
    """Processes and groups are those of DDP; each block of the encoder is gathered by itself.

    What a checkpoint asks for is whole on rank 0, under the names and in the types that one process
    has, and None elsewhere; all ranks must ask for it.

    Source:
        FSDP2 (arXiv:2304.11277, and torch.distributed.fsdp.fully_shard).
    """

    def __init__(self, reduce_precision: str, **options: Any) -> None:
        """Add up gradients in `reduce_precision`: bf16, or the `same` as they are."""
        super().__init__(**options)
        self.reduce_precision = reduce_precision

    def model_to_device(self) -> None:
        """Move block by block and keep this rank's part, so that no device ever holds all."""
        learner: Any = self.lightning_module
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        encoder = learner.network.encoder
        blocks = encoder.blocks() if isinstance(encoder, InBlocks) else []
        sums = torch.bfloat16 if self.reduce_precision == "bf16" else None
        for module in [*blocks, learner]:
            fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(reduce_dtype=sums))
            if self.root_device.type == "cpu":  # gloo takes no means
                module.set_force_sum_reduction_for_comms(True)
        for name in _WAYS_IN:
            if hasattr(learner, name):
                register_fsdp_forward_method(learner, name)
        super().model_to_device()

    def configure_ddp(self) -> None:
        """Leave the module as it is; nothing is around it."""

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Keep the gradients of a micro-batch here, whole, until those of the last one come."""
        learner: Any = self.lightning_module
        learner.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            learner.set_requires_gradient_sync(True)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the weights."""
        return gathered(dict(super().lightning_module_state_dict()), self.is_global_zero)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimiser's state."""
        return gathered(super().optimizer_state(optimizer), self.is_global_zero)

    def teardown(self) -> None:
        """Leave the weights where they are: Lightning would move them off their mesh."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()


def is_sharded(trainer: Trainer) -> bool:
    """Return whether all ranks must take part wherever one uses the network."""
    return isinstance(trainer.strategy, FullyShardedStrategy)


def on_this_rank(tensor: Tensor) -> Tensor:
    """Return what of a tensor is on this rank: its part, or all of it; without a gradient."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def gathered(value: Any, keep: bool) -> Any:
    """Gather tensors one at a time, for they may be large; into main memory, if to be kept."""
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.to("cpu", copy=True) if keep else None  # less what was padded
    if isinstance(value, dict):
        return {key: gathered(inner, keep) for key, inner in value.items()}
    return value
