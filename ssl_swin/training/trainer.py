"""The Trainer: devices, processes and precision.

Lightning sees a run as one epoch of the steps that are left. So none of its own rules for resuming,
validating or saving apply: the list of callbacks says what happens between two steps.
"""

import inspect
import logging
import os
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ssl_swin.errors import UserError
from ssl_swin.launcher import launcher, num_cores
from ssl_swin.phases import tell
from ssl_swin.training.fsdp import FullyShardedStrategy
from ssl_swin.training.restarts import MeetsAnew

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed", "fp64": "64-true"}

# Advice that does not apply: Lightning's on choices that the config makes, DDP's on the decoder's
# 1x1 convolution (gradient and bucket differ only in strides of axes of length 1), and FSDP's on
# blocks that return views (nothing here writes into what a block returns).
_ADVICE = (
    "Grad strides do not match bucket view strides.*",
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*Consider setting `persistent_workers=True`.*",
    "The `srun` command is available.*",  # a login node may train without it
    "FSDP2-wrapped module .* returned a view tensor.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)
# Our buffers never change, so DDP need not send them at each step. torch 2.15 renamed the option.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)

say = rank_zero_only(tell)


def is_rank_0() -> bool:
    """Return whether this process is rank 0, as the environment says before there is a Trainer."""
    return rank_zero_only.rank == 0


@dataclass(frozen=True)
class Hardware:
    """What a run is computed on, and how exactly; `devices` are processes on each node."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    deterministic: bool = False
    tf32: bool = False
    reduce_precision: Literal["same", "bf16"] = "same"
    strategy: Literal["ddp", "fsdp"] = "ddp"

    def resolve(self) -> str:
        """Return where to train: `cpu` or `gpu`.

        Raises:
            UserError: If there are fewer GPUs than asked for.
        """
        if self.accelerator == "auto":
            return "gpu" if torch.cuda.is_available() else "cpu"
        if self.accelerator == "gpu" and torch.cuda.device_count() < self.devices:
            raise UserError(
                f"training.accelerator=gpu with training.devices={self.devices}, but this machine "
                f"shows {torch.cuda.device_count()} GPUs; use fewer devices, or "
                "training.accelerator=cpu"
            )
        return self.accelerator


def make_trainer(
    hardware: Hardware,
    callbacks: list[Callback],
    loggers: list[Logger],
    timeout: timedelta = timedelta(minutes=30),
) -> Trainer:
    """Return a Trainer that leaves all that happens between two steps to the callbacks, in order.

    One process waits for the others until the `timeout`.

    Raises:
        UserError: If there are fewer GPUs than asked for.
    """
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _ADVICE:
        warnings.filterwarnings("ignore", message=message)
    accelerator = hardware.resolve()
    if accelerator == "gpu":
        allow_tf32(hardware.tf32)
        warn_of_emulation(hardware.precision)
    is_fp16 = hardware.precision == "fp16"
    plugins: list[Any] = [*_environment(), *([_fp16(accelerator)] if is_fp16 else [])]
    trainer = Trainer(
        accelerator=accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        strategy=_strategy(hardware, accelerator, timeout),
        precision=None if is_fp16 else PRECISION[hardware.precision],
        deterministic=hardware.deterministic,
        plugins=plugins,
        max_epochs=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=loggers or False,
        log_every_n_steps=1,  # silences advice; our callbacks log
        callbacks=callbacks,
    )
    # Lightning's handler for SIGTERM broadcasts within a step, which deadlocks (issue 21406). Its
    # loop broadcasts at each step, which waits for the device (21487). `Meeting` does both jobs.
    trainer._signal_connector.register_signal_handlers = lambda: None
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    return trainer


def allow_tf32(allowed: bool) -> None:
    """Say how GPUs multiply float32: TF32, or as it is; torch's own default differs by operation.

    torch's newer switches (`fp32_precision`) make its older question fail, which Lightning and
    torch.compile ask: so these are the older ones, which set both.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def warn_of_emulation(precision: str) -> None:
    """Say where this process's GPU computes bf16 by other means, which is slow."""
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        say(
            f"warning: {torch.cuda.get_device_name()} has no bf16 and emulates it slowly; use "
            "training.precision=fp16"
        )


def _fp16(accelerator: str) -> MixedPrecision:
    """Return autocast without Lightning's scaler, which waits for the device: ours is `LossScale`.

    Asked for by its name, Lightning makes bf16 of fp16 on a CPU.
    """
    device = "cuda" if accelerator == "gpu" else accelerator
    return MixedPrecision("16-mixed", device, torch.amp.GradScaler(device, enabled=False))


def _environment() -> list[ClusterEnvironment]:
    """Return who says which rank this process is; nobody leaves it to Lightning.

    Where SLURM started this process and no script chose a port, each life has another one.
    """
    started_by = launcher()
    if started_by == "torchrun":
        return [TorchElasticEnvironment()]
    if started_by == "ssl-swin":
        return [LightningEnvironment()]
    if started_by is None:
        return []
    job, restart = (int(os.environ.get(f"SLURM_{it}", 0)) for it in ("JOB_ID", "RESTART_COUNT"))
    os.environ.setdefault("MASTER_PORT", str(10000 + (job * 7 + restart * 1009) % 20000))
    # SLURM's own requeueing saves inside the signal handler, which deadlocks (issue 21406).
    return [SLURMEnvironment(auto_requeue=False)]


def _strategy(hardware: Hardware, accelerator: str, timeout: timedelta) -> str | Strategy:
    if hardware.devices * hardware.num_nodes == 1:
        if hardware.strategy == "fsdp":
            say("training.strategy=fsdp: one process has nobody to share with; it trains as ddp")
        return "auto"
    backend = "nccl" if accelerator == "gpu" else "gloo"
    if hardware.strategy == "fsdp":
        return FullyShardedStrategy(
            hardware.reduce_precision, process_group_backend=backend, timeout=timeout
        )
    return _DDP(
        hardware.reduce_precision,
        process_group_backend=backend,
        timeout=timeout,
        gradient_as_bucket_view=True,
        **{_SYNC_BUFFERS: False},
    )


class _DDP(MeetsAnew):
    """Adds up gradients in bf16 if asked to; Lightning's own hooks are for GPUs alone."""

    def __init__(self, reduce_precision: str, **options: Any) -> None:
        super().__init__(**options)
        self.reduce_precision = reduce_precision

    def configure_ddp(self) -> None:
        """Tell DDP, before its first backward."""
        super().configure_ddp()
        if self.reduce_precision == "bf16":
            self.model.register_comm_hook(None, bf16_compress_hook)


def limit_threads(num_threads: int | None, devices: int) -> None:
    """Set the CPU threads of this process; None shares the node's cores among the `devices`.

    Each process may be bound to cores of its own, which are shared with nobody; so the share is of
    the cores that the run has on this node, and never more than this process may use.
    """
    mine, on_node = num_cores()
    torch.set_num_threads(num_threads or max(1, min(mine, on_node // devices)))
