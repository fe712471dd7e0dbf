"""One optimiser step over one global batch: micro-batches, gradients, clipping, learning rate."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.order.shares import micro_batch_bounds
from ssl_swin.draw import Purpose, raw
from ssl_swin.models.normalise import Normalisation
from ssl_swin.training.optim import LearningRateCurve, adamw, set_lr


class StepResult(NamedTuple):
    """What a step leaves for the log; on the device, so that nothing waits for it."""

    loss: Tensor
    """This rank's part of the loss; the parts of all ranks add up to it."""
    grad_norm: Tensor
    """Norm of the whole gradient before clipping, the same on every rank."""


@dataclass(frozen=True)
class Schedule:
    """How the run's images become optimiser steps.

    Attributes:
        seed: The run's seed.
        global_batch_size: Images of one step over all ranks.
        steps_per_epoch: Steps of one epoch.
        num_micro_batches: Parts a rank's share is put through in; the same on every rank.
        curve: Learning rate of every step.
        weight_decay: AdamW's.
        betas: AdamW's.
        clip_grad: Largest norm of the gradient.
    """

    seed: int
    global_batch_size: int
    steps_per_epoch: int
    num_micro_batches: int
    curve: LearningRateCurve
    weight_decay: float
    betas: tuple[float, float]
    clip_grad: float


class Learner(LightningModule, ABC):
    """A network that learns from global batches; a batch is this rank's share of one.

    Optimisation is manual, so that a step, and all that is counted in steps, means the same on any
    number of ranks. `step` counts the steps done over all lives of the run.
    """

    def __init__(self, network: nn.Module, normalise: Normalisation, schedule: Schedule) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.normalise, self.schedule = network, normalise, schedule
        self.step = 0
        self.result: StepResult | None = None
        self.metrics: dict[str, float] = {}  # last known, kept in checkpoints
        self.optimizer_state: dict[str, Any] | None = None  # of the life before, until it is used

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups."""

    @abstractmethod
    def loss(self, micro: Batch) -> Tensor:
        """Return a micro-batch's part of the loss of the whole global batch."""

    @abstractmethod
    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return sums over held-out images, float64 scalars by name."""

    def prepare(self, batch: Batch) -> Batch:
        """Return the share as it is cut into micro-batches."""
        return batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW, as it was when the run goes on."""
        rate = self.schedule.curve.at(self.step)
        optimizer = adamw(self.parameter_groups(), lr=rate, betas=self.schedule.betas)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
            self.optimizer_state = None
        return optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one optimiser step on this rank's share of the global batch."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        set_lr(optimizer, self.schedule.curve, self.step)
        optimizer.zero_grad(set_to_none=True)
        loss = self._backward(self.prepare(batch))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grad_norm = nn.utils.clip_grad_norm_(parameters, self.schedule.clip_grad)
        optimizer.step()
        self.result = StepResult(loss, grad_norm)
        self.step += 1

    def _backward(self, share: Batch) -> Tensor:
        """Add up gradients over micro-batches; under DDP, ranks meet at the last one."""
        bounds = micro_batch_bounds(len(share["index"]), self.schedule.num_micro_batches)
        total = torch.zeros((), device=self.device)
        for micro, (start, stop) in enumerate(bounds):
            if start == stop:
                continue
            # Drop path and dropout draw from here: bit-equal when the run goes on, on this layout.
            key = (self.schedule.seed, self.step, self.global_rank, micro)
            torch.manual_seed(int(raw(1, Purpose.STEP, *key)[0] >> 1))
            with nullcontext() if stop == bounds[-1][1] else self._no_sync():
                loss = self.loss({name: value[start:stop] for name, value in share.items()})
                # DDP takes the mean over ranks of what are parts of a sum.
                self.manual_backward(loss * self.trainer.world_size)
            total = total + loss.detach()
        return total

    def _no_sync(self) -> AbstractContextManager:
        block = getattr(self.trainer.strategy, "block_backward_sync", None)
        return block() if block else nullcontext()
