"""Which parameters decay, how fast each layer learns, and the learning rate at every step."""

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.simmim import SimMIM

_ENCODER = "encoder."  # how the names of an encoder's parameters begin in the models trained here


def pretrain_groups(model: SimMIM, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trained parameters into those that decay and those that do not.

    Vectors, biases and what the encoder exempts do not decay. Position tables do: the official code
    means to exempt them, but looks for them under a name they do not have.

    Args:
        model: Its encoder says what it exempts.
        weight_decay: For the decaying group.

    Returns:
        Two groups, ``decay`` first; see :func:`finetune_groups` for their fields.

    Source:
        SimMIM code, optimizer.py, ``get_pretrain_param_groups``.
    """
    exempt = model.encoder.no_decay() - model.encoder.position_tables().keys()
    groups: dict[str, dict[str, Any]] = {}
    for name, decay in (("decay", weight_decay), ("no_decay", 0.0)):
        groups[name] = _group(name, decay, lr_scale=1.0)
    for name, parameter in _trained(model):
        _add(groups["decay" if _decays(name, parameter, exempt) else "no_decay"], name, parameter)
    return [group for group in groups.values() if group["params"]]


def finetune_groups(
    model: Classifier, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Group the trained parameters by layer, each layer learning slower than the one above it.

    Vectors, biases and what the encoder exempts, such as position tables, do not decay.

    Args:
        model: Its encoder says which layer a parameter belongs to; the head is the last layer.
        weight_decay: For the decaying groups.
        layer_decay: Factor per layer, in (0, 1]; 1 gives every layer the same rate.

    Returns:
        Groups for a torch optimiser: ``params``, ``param_names``, ``weight_decay``, ``lr_scale``
        (the factor on the base learning rate; :func:`set_lr` applies it, torch alone does not) and
        ``name``, such as ``layer_3_no_decay``.

    Raises:
        UserError: If layer_decay is outside (0, 1].

    Source:
        SimMIM code, optimizer.py, ``get_finetune_param_groups``.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(f"layer_decay={layer_decay} must be in (0, 1]; 1 turns it off")
    encoder = model.encoder
    exempt, head = encoder.no_decay(), encoder.num_layers + 1
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in _trained(model):
        inside = name.startswith(_ENCODER)
        layer = encoder.layer_of(name.removeprefix(_ENCODER)) if inside else head
        decays = _decays(name, parameter, exempt)
        key = f"layer_{layer}_{'decay' if decays else 'no_decay'}"
        if key not in groups:
            decay = weight_decay if decays else 0.0
            groups[key] = _group(key, decay, lr_scale=layer_decay ** (head - layer))
        _add(groups[key], name, parameter)
    return list(groups.values())


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
        """Refuse a curve that cannot be drawn.

        Raises:
            ValueError: If the schedule is unknown, the warmup does not fit, or milestones are
                missing, not sorted, or given to a cosine.
        """
        if self.schedule not in ("cosine", "multistep"):
            raise ValueError(f"schedule={self.schedule!r} must be 'cosine' or 'multistep'")
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} must be at least 0 and less than "
                f"total_steps={self.total_steps}; shorten the warmup or train longer"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones={self.milestones} must be sorted")
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise ValueError(
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


def adamw(
    groups: list[dict[str, Any]],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    fused: bool = True,
) -> torch.optim.AdamW:
    """Build the optimiser, fused into one pass over the parameters where their device allows.

    Args:
        groups: From :func:`pretrain_groups` or :func:`finetune_groups`.
        lr: Until the first :func:`set_lr`.
        betas: Decay of the running means of gradient and squared gradient.
        fused: False rounds as the official code does, and is several times slower.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = fused and devices <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=fused)


def _trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return (pair for pair in model.named_parameters() if pair[1].requires_grad)


def _decays(name: str, parameter: Tensor, exempt: set[str]) -> bool:
    vector_or_bias = parameter.ndim == 1 or name.endswith(".bias")
    return not vector_or_bias and name.removeprefix(_ENCODER) not in exempt


def _group(name: str, weight_decay: float, lr_scale: float) -> dict[str, Any]:
    return {
        "params": [],
        "param_names": [],
        "weight_decay": weight_decay,
        "lr_scale": lr_scale,
        "name": name,
    }


def _add(group: dict[str, Any], name: str, parameter: nn.Parameter) -> None:
    group["params"].append(parameter)
    group["param_names"].append(name)
