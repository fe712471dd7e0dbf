"""One optimiser step over one global batch: micro-batches, gradients, clipping, learning rate."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ssl_swin.data.batches.batch import Batch
from ssl_swin.data.order.shares import micro_batch_bounds
from ssl_swin.draw import Purpose, raw
from ssl_swin.models.normalise import Normalisation
from ssl_swin.training.average import WeightAverage
from ssl_swin.training.curve import LearningRateCurve, set_lr
from ssl_swin.training.fsdp import is_sharded
from ssl_swin.training.loss_scale import LossScale
from ssl_swin.training.optim import adamw, clip, load_moments, step_if
from ssl_swin.training.quirks import OFFICIAL, Quirks


class StepResult(NamedTuple):
    """What a step tells the callbacks; on the device, so that the step waits for nothing."""

    loss: Tensor  # this rank's part; the parts of all ranks add up to the loss
    grad_norm: Tensor  # of the whole gradient before clipping, the same on every rank
    finite: Tensor  # whether loss and gradient are, on every rank; if not, the step changed nothing
    bad: Tensor  # whether they are not, and that is no overflow which fp16's loss scale mends
    parts: Tensor | None = None  # (parts,), what the loss is made of, as the loss; see `part_names`


class StepWatch(Protocol):
    """Looks at one step from within, and moves no number."""

    def before(self, loss_scale: Tensor | None) -> None:
        """Look at weights and gradient, whole and not yet clipped; fp16's is of a scaled loss."""

    def after(self) -> None:
        """Look at the weights that the step has made."""


@dataclass(frozen=True)
class Schedule:
    """How a run is cut into steps, and how AdamW takes each step."""

    seed: int
    global_batch_size: int  # images of one step over all ranks
    steps_per_epoch: int
    num_micro_batches: int  # that a rank's share is cut into, as many on every rank
    curve: LearningRateCurve
    weight_decay: float
    betas: tuple[float, float]
    clip_grad: float | None  # largest norm of the gradient; a longer one is scaled down
    quirks: Quirks = OFFICIAL  # of the official code, that are kept


class Learner(LightningModule, ABC):
    """A network that learns from global batches; Lightning's batch is this rank's share of one.

    Lightning's own optimisation is off, so that a step means the same on any number of ranks.
    """

    def __init__(self, network: nn.Module, normalise: Normalisation, schedule: Schedule) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.normalise, self.schedule = network, normalise, schedule
        self.step = 0  # steps done over all lives of the run
        self.cuda_graphs = False  # whether parts of the network are replayed from CUDA graphs
        self.result: StepResult | None = None  # of the last step
        self.parts: Tensor | None = None  # (parts,), of the last loss, if it has several
        self.watch: StepWatch | None = None  # of the next step, if it is one to look at
        self.metrics: dict[str, float] = {}  # last known, kept in checkpoints
        self.best_metric: str | None = None  # that of them which says whose weights are the best
        self.loaded: Mapping[str, Any] | None = None  # what became of a file that it began with
        self.optimizer_state: dict[str, Any] | None = None  # until there is an optimiser
        self.loss_scale: LossScale | None = None  # with fp16 alone
        self.loss_scale_state: dict[str, Tensor] | None = None  # of a checkpoint
        self.ema_decay: float | None = None  # of the moving average of the weights, if there is one
        self.average: WeightAverage | None = None
        self.average_state: Mapping[str, Tensor] | None = None  # of a checkpoint

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the parts of the loss are called, if there are several."""
        return ()

    @property
    def best(self) -> float | None:
        """The best that was found so far, if it is asked for: its weights are kept."""
        return None if self.best_metric is None else self.metrics.get(self.best_metric)

    def forget_best(self) -> None:
        """Begin with no best: the next that is found will be."""
        self.metrics.pop(self.best_metric or "", None)

    def work(self, step: int) -> float:
        """Return what the first steps of a run take, in steps of its last kind."""
        return float(step)

    def points(self) -> dict[str, float]:
        """Return what else is to be logged of the last step, the same on all ranks."""
        return {}

    def before_step(self, share: Batch) -> None:
        """Make ready for a step; a learner may train a part of the network alone.

        What `loss` has to know of the whole global batch is found out here, with the other ranks.
        """

    def train_all(self) -> None:
        """Train no part alone any more: for who asks what the largest step of a run takes."""

    def trained_alone(self) -> list[nn.Parameter]:
        """Return what this step trains, if that is not all; only its gradients are exchanged."""
        return []

    def after_backward(self) -> None:
        """Look at gradients before they are measured and clipped; a learner may drop some."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups."""

    @abstractmethod
    def loss(self, micro: Batch) -> Tensor:
        """Return a micro-batch's part of the loss of the whole global batch."""

    @abstractmethod
    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return sums over held-out images, as `evaluation.heldout.measure` takes them."""

    def micro_batch(self, share: Batch, start: int, stop: int) -> Batch:
        """Cut images [start, stop) out of a rank's share, as `loss` takes them: on the device."""
        return {name: value[start:stop] for name, value in share.items() if name != "ids"}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW, with its moments from the checkpoint if there is one."""
        rate = self.schedule.curve.at(self.step)
        optimizer = adamw(self.parameter_groups(), lr=rate, betas=self.schedule.betas)
        if self.optimizer_state is not None:
            load_moments(optimizer, self.optimizer_state)
            self.optimizer_state = None
        if self.ema_decay is not None:
            trained = {name: one for name, one in self.named_parameters() if one.requires_grad}
            self.average = WeightAverage(trained, self.ema_decay, self.average_state)
            self.average_state = None
        return optimizer

    @contextmanager
    def exchanged(self) -> Iterator[None]:
        """Have the moving average in the place of the weights, if there is one; these in its.

        Within itself all is as without.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        if self.average is not None:
            self.average.exchange()
            if isinstance(self, FSDPModule):
                self.reshard()  # so that what was gathered is gathered anew

    def weights_before_training(self) -> dict[str, Tensor]:
        """Return what of a checkpoint is measured and handed off: the average, if there is one."""
        return self.state_dict() | dict(self.average_state or {})

    def on_train_start(self) -> None:
        """Have what is frozen rest; put fp16's loss scale on the device; let DDP lay out buckets.

        A life's first steps are as those after a measurement, which sets the mode. Nothing rests
        before, of which Lightning would warn.

        DDP does so once, in the order in which the first backward with an exchange reaches the
        parameters. Before, they are one bucket; and in which order more than two ranks are added up
        depends on the place in a bucket. So it sums the first step of a life as any other. Here no
        image is needed and nothing is drawn.
        """
        self.train()
        if self.trainer.precision == "16-mixed":
            self.loss_scale = LossScale(self.device, self.loss_scale_state)
        if self.trainer.world_size > 1 and not is_sharded(self.trainer):
            parameters = [p for p in self.parameters() if p.requires_grad]
            self.manual_backward(torch.stack([p.sum() for p in parameters]).sum())
            self.zero_grad(set_to_none=True)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one optimiser step on this rank's share of the global batch."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        set_lr(optimizer, self.schedule.curve, self.step)
        optimizer.zero_grad(set_to_none=True)
        self.before_step(batch)
        loss, parts = self._backward(batch)
        self.after_backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        scale = self.loss_scale.scale if self.loss_scale else None
        if self.watch:
            self.watch.before(scale)
        grad_norm = clip(parameters, self.schedule.clip_grad, scale)
        finite = grad_norm.isfinite()
        step_if(finite, optimizer, scale)
        if self.watch:
            self.watch.after()
        if self.average is not None:
            self.average.update(self.step + 1, finite)
        bad = ~finite & ~self.loss_scale.update(finite) if self.loss_scale else ~finite
        self.result = StepResult(loss, grad_norm, finite, bad, parts)
        self.step += 1

    def _backward(self, share: Batch) -> tuple[Tensor, Tensor | None]:
        """Add up gradients over micro-batches; under DDP, ranks exchange them at the last one.

        Returns this rank's loss, and what it is made of.
        """
        bounds = micro_batch_bounds(len(share["index"]), self.schedule.num_micro_batches)
        no_sync = getattr(self.trainer.strategy, "block_backward_sync", nullcontext)
        total = torch.zeros((), device=self.device)
        is_shared = self.trainer.world_size > 1 and not is_sharded(self.trainer)
        alone = self.trained_alone() if is_shared else []
        parts = torch.zeros(len(self.part_names), device=self.device) if self.part_names else None
        if self.cuda_graphs:  # they use their memory again: gradients add up outside of it
            for parameter in self.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        for micro, (start, stop) in enumerate(bounds):
            weight = 1.0
            if start == stop:
                if not is_sharded(self.trainer):
                    continue
                start, stop, weight = 0, 1, 0.0  # for the others, who gather weights with this rank
            # Drop path draws from this seed, so a run that goes on draws what it would have drawn.
            key = (self.schedule.seed, self.step, self.global_rank, micro)
            torch.manual_seed(int(raw(1, Purpose.STEP, *key)[0] >> 1))
            if self.cuda_graphs:
                torch.compiler.cudagraph_mark_step_begin()
            with nullcontext() if micro == len(bounds) - 1 and not alone else no_sync():
                loss = weight * self.loss(self.micro_batch(share, start, stop))
                # DDP takes the mean over the ranks; the gradient is their sum. A loss that is not
                # finite makes the gradient so, and with it that of all ranks.
                scale = self.trainer.world_size * (1 + 0 * loss.detach())
                if self.loss_scale:
                    scale = scale * self.loss_scale.scale
                self.manual_backward(loss * scale)
            total = total + loss.detach()
            if parts is not None and self.parts is not None:
                parts = parts + weight * self.parts
        if alone:
            self._exchange_gradients(alone)
        return total, parts

    def _exchange_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Put the mean over the ranks in the place of the gradients of these, as DDP does of all.

        Each rank has an image, so each has all of these gradients.
        """
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([one.flatten() for one in gradients])
        mean = self.trainer.strategy.reduce(flat, reduce_op="mean")
        parts = mean.split([one.numel() for one in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
