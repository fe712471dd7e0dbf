"""The learning rate at every optimiser step."""

import bisect
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_swin.errors import UserError


def scaled_lr(lr: float, global_batch_size: int) -> float:
    """Scale a rate (base, warmup or smallest) given for 512 images per step to the batch in use.

    Source:
        SimMIM code, main_simmim.py.
    """
    return lr * global_batch_size / 512


@dataclass(frozen=True)
class LearningRateCurve:
    """The learning rate as a function of the optimiser step, in float64.

    The rate rises linearly from warmup_lr and then follows half a cosine or drops at milestones.
    The rate of step ``s`` is the curve at ``s - 1``, and the first two steps run at warmup_lr,
    because the official code advances its schedule after each step; without `lags` it is the curve
    at ``s``.

    By default the cosine is counted from step 0, as in the code behind the published numbers, so
    the rate drops where the warmup ends; with warmup_prefix, it starts at the end of the warmup.

    Raises:
        UserError: If settings contradict each other.

    Source:
        SimMIM code, lr_scheduler.py; warmup_prefix from Swin-Transformer's, pull request 278.
    """

    total_steps: int  # optimiser steps of the whole run, warmup among them
    base_lr: float  # reached by the warmup; already scaled to the batch
    schedule: Literal["cosine", "multistep"] = "cosine"
    warmup_steps: int = 0  # until base_lr
    warmup_lr: float = 0.0  # where the warmup starts
    min_lr: float = 0.0  # where the cosine ends; multistep has no floor
    milestones: tuple[int, ...] = ()  # steps from the start; multistep multiplies by gamma there
    gamma: float = 0.1
    warmup_prefix: bool = False
    lags: bool = True
    same_ends: bool = True  # whether a layer's factor leaves warmup_lr and min_lr as they are

    def __post_init__(self) -> None:
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
        """Return the rate used at an optimiser step, counted from 0.

        A group's layer-decay factor `lr_scale` scales base_lr, and warmup_lr and min_lr unless
        every group is to start and end at the same.
        """
        passed = max(step - 1, 0) if self.lags else step
        base_lr, of_ends = self.base_lr * lr_scale, 1.0 if self.same_ends else lr_scale
        warmup_lr, min_lr = self.warmup_lr * of_ends, self.min_lr * of_ends
        if passed < self.warmup_steps:
            return warmup_lr + passed * (base_lr - warmup_lr) / self.warmup_steps
        if self.schedule == "multistep":
            return base_lr * self.gamma ** bisect.bisect_right(self.milestones, passed)
        start = self.warmup_steps if self.warmup_prefix else 0
        turned = min((passed - start) / (self.total_steps - start), 1.0)
        return min_lr + 0.5 * (base_lr - min_lr) * (1 + math.cos(math.pi * turned))


def set_lr(optimizer: torch.optim.Optimizer, curve: LearningRateCurve, step: int) -> float:
    """Give every group its learning rate, by its ``lr_scale``, for the step about to be taken.

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
