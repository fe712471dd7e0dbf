"""Which parameters decay, which learn more slowly, and the optimiser over them."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_POSITION_TABLE = "relative_position_bias_table"
_BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.blocks\.(\d+)\.")
_DOWNSAMPLE = re.compile(r"(?:^|\.)layers\.(\d+)\.downsample\.")
_STEM = re.compile(r"(?:^|\.)(?:patch_embed\.|mask_token$)")
_TOP = re.compile(r"(?:^|\.)(?:norm|head)\.(?:weight|bias)$")


def pretrain_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trained parameters into those that decay and those that do not.

    Vectors, biases and the mask token do not decay. Position tables do: the official code means to
    exempt them, but looks for them under a name they do not have.

    Args:
        model: A pretraining model, with timm's or the official names.
        weight_decay: For the decaying group.

    Returns:
        Two groups, ``decay`` first; see :func:`finetune_groups` for their fields.

    Source:
        SimMIM code, optimizer.py, ``get_pretrain_param_groups``.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, decay in (("decay", weight_decay), ("no_decay", 0.0)):
        groups[name] = _group(name, decay, lr_scale=1.0)
    for name, parameter in _trained(model):
        exempt = _is_vector_or_bias(name, parameter) or name.split(".")[-1] == "mask_token"
        _add(groups["no_decay" if exempt else "decay"], name, parameter)
    return [group for group in groups.values() if group["params"]]


def finetune_groups(
    model: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Group the trained parameters by layer, each layer learning slower than the one above it.

    Vectors, biases and position tables do not decay.

    Args:
        model: A classifier, with timm's names.
        weight_decay: For the decaying groups.
        layer_decay: Factor per layer, in (0, 1]; 1 gives every layer the same rate.

    Returns:
        Groups for a torch optimiser: ``params``, ``param_names``, ``weight_decay``, ``lr_scale``
        (the factor on the base learning rate; ``set_lr`` applies it, torch alone does not) and
        ``name``, such as ``layer_3_no_decay``.

    Raises:
        ValueError: If layer_decay is outside (0, 1], or a parameter belongs to no known layer.

    Source:
        SimMIM code, optimizer.py, ``get_finetune_param_groups``.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay={layer_decay} must be in (0, 1]; 1 turns it off")
    trained = list(_trained(model))
    depths = _depths(name for name, _ in model.named_parameters())
    last = sum(depths) + 1
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in trained:
        layer = layer_id(name, depths)
        exempt = _is_vector_or_bias(name, parameter) or _POSITION_TABLE in name
        key = f"layer_{layer}_{'no_decay' if exempt else 'decay'}"
        if key not in groups:
            decay = 0.0 if exempt else weight_decay
            groups[key] = _group(key, decay, lr_scale=layer_decay ** (last - layer))
        _add(groups[key], name, parameter)
    return list(groups.values())


def layer_id(name: str, depths: tuple[int, ...]) -> int:
    """Count a parameter's layer from the image: 0 for the stem, one per block, one for the head.

    Args:
        name: timm's name, with or without a prefix.
        depths: Blocks of each stage.

    Returns:
        From 0 to ``sum(depths) + 1``. Down-sampling has the id of the last block before it.

    Raises:
        ValueError: If the name belongs to no known layer.

    Source:
        SimMIM code, optimizer.py, ``get_swin_layer``. There down-sampling is named after the stage
        it leaves, in timm after the stage it enters; the id is the same.
    """
    if match := _BLOCK.search(name):
        return sum(depths[: int(match[1])]) + int(match[2]) + 1
    if match := _DOWNSAMPLE.search(name):
        return sum(depths[: int(match[1])])
    if _STEM.search(name):
        return 0
    if _TOP.search(name):
        return sum(depths) + 1
    raise ValueError(
        f"parameter {name!r} belongs to no known layer of a Swin classifier; "
        "layer decay knows patch_embed, layers, norm and head"
    )


def adamw(
    groups: list[dict[str, Any]],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    fused: bool = True,
) -> torch.optim.AdamW:
    """Build the optimiser, fused into one pass over the parameters where their device allows.

    Args:
        groups: From :func:`pretrain_groups` or :func:`finetune_groups`.
        lr: Until the first ``set_lr``.
        betas: Decay of the running means of gradient and squared gradient.
        fused: False rounds as the official code does, and is several times slower.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = fused and devices <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=fused)


def _trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return (pair for pair in model.named_parameters() if pair[1].requires_grad)


def _is_vector_or_bias(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 1 or name.endswith(".bias")


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


def _depths(names: Iterable[str]) -> tuple[int, ...]:
    stages: dict[int, int] = {}
    for name in names:
        if match := _BLOCK.search(name):
            stage, block = int(match[1]), int(match[2])
            stages[stage] = max(stages.get(stage, 0), block + 1)
    return tuple(stages[stage] for stage in sorted(stages))
