"""The learning rate at every optimiser step."""

import bisect
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_swin.errors import UserError


def scaled_lr(lr: float, global_batch_size: int) -> float:
    """Scale a learning rate given for 512 images per step to the batch in use.

    Base, warmup and smallest rate are all scaled so.

    Source:
        SimMIM code, main_simmim.py.
    """
    return lr * global_batch_size / 512


@dataclass(frozen=True)
class LearningRateCurve:
    """The learning rate as a function of the optimiser step, in float64.

    The rate rises linearly from warmup_lr and then follows half a cosine or drops at milestones.
    The rate of step ``s`` is the curve at ``s - 1``, and the first two steps run at warmup_lr,
    because the official code advances its schedule after each step.

    Attributes:
        total_steps: Optimiser steps of the whole run, warmup among them.
        base_lr: Reached by the warmup; already scaled to the batch.
        schedule: ``cosine`` or ``multistep``.
        warmup_steps: Steps until base_lr.
        warmup_lr: Where the warmup starts.
        min_lr: Where the cosine ends; multistep has no floor.
        milestones: Steps, counted from the start, at which multistep multiplies by gamma.
        gamma: Multistep's factor.
        warmup_prefix: Start the cosine at the end of the warmup. By default it is counted from step
            0, as in the code behind the published numbers, so the rate drops where warmup ends.

    Source:
        SimMIM code, lr_scheduler.py; warmup_prefix from Swin-Transformer's, pull request 278.
    """

    total_steps: int
    base_lr: float
    schedule: Literal["cosine", "multistep"] = "cosine"
    warmup_steps: int = 0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_prefix: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            UserError: If the schedule is unknown, the warmup does not fit, or milestones are
                missing, not sorted, or given to a cosine.
        """
        if self.schedule not in ("cosine", "multistep"):
            raise UserError(f"schedule={self.schedule!r} must be 'cosine' or 'multistep'")
        if not 0 <= self.warmup_steps < self.total_steps:
            raise UserError(
                f"warmup_steps={self.warmup_steps} must be at least 0 and less than "
                f"total_steps={self.total_steps}; shorten the warmup or train longer"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise UserError(f"milestones={self.milestones} must be sorted")
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise UserError(
                f"schedule={self.schedule!r} with milestones={self.milestones}; "
                "multistep needs milestones and cosine takes none"
            )

    def at(self, step: int, lr_scale: float = 1.0) -> float:
        """Return the rate used at an optimiser step.

        Args:
            step: Counted from 0.
            lr_scale: A group's layer-decay factor. It scales base_lr only: every group starts at
                the same warmup_lr and ends a cosine at the same min_lr.
        """
        passed = max(step - 1, 0)
        base_lr = self.base_lr * lr_scale
        if passed < self.warmup_steps:
            return self.warmup_lr + passed * (base_lr - self.warmup_lr) / self.warmup_steps
        if self.schedule == "multistep":
            return base_lr * self.gamma ** bisect.bisect_right(self.milestones, passed)
        start = self.warmup_steps if self.warmup_prefix else 0
        turned = min((passed - start) / (self.total_steps - start), 1.0)
        return self.min_lr + 0.5 * (base_lr - self.min_lr) * (1 + math.cos(math.pi * turned))


def set_lr(optimizer: torch.optim.Optimizer, curve: LearningRateCurve, step: int) -> float:
    """Give every group of the optimiser its learning rate for a step.

    Args:
        optimizer: Its groups' ``lr_scale`` is applied; 1 where a group has none.
        curve: The learning rate as a function of the step.
        step: The optimiser step about to be taken, counted from 0.

    Returns:
        The rate of a group that is not scaled.
    """
    for group in optimizer.param_groups:
        rate = curve.at(step, group.get("lr_scale", 1.0))
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    return curve.at(step)
