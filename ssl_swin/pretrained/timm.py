"""The format "timm": weights of timm's Swin, from it and for it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.tensors import read_tensors

_PREFIX = "backbone."
_PATCHES = "backbone.patch_embed.proj.weight"
_BLOCK = re.compile(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.")
_TABLE = "backbone.layers.{}.blocks.0.attn.relative_position_bias_table"
_NAMES = {128: "swin_base_patch4_window7_224", 192: "swin_large_patch4_window7_224"}  # by width


def read_timm(path: Path) -> Weights | None:
    """Read the state dict of a Swin of timm, with or without its head."""
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        return None
    state = from_timm(read_tensors(path)[0])
    return swin_weights(state) if is_swin(state) else None


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder, without its mask token, the names they have in timm.

    They load strictly into ``timm.create_model(name, num_classes=0, ...)`` of its architecture.
    """
    return {
        key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)
    }


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights, without classification head, the names they have in our SwinEncoder."""
    return {_PREFIX + key: value for key, value in state.items() if not key.startswith("head.")}


def is_swin(state: Mapping[str, Tensor]) -> bool:
    """Say whether these are weights of a Swin (version 1), under our names."""
    return _PATCHES in state and _TABLE.format(0) in state


def swin_weights(state: dict[str, Tensor]) -> Weights:
    """Describe weights of a Swin that have no card, under our names.

    Those for three channels were trained on ImageNet.
    """
    architecture = sizes_of(state)
    if architecture["in_chans"] != 3:
        return Weights(state, architecture)
    return Weights(state, architecture, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the arguments of `build_encoder` from a Swin's weights, under our names.

    Windows are square. No weight depends on the image size: the last stage is taken to be one
    window, as in all published Swins. The name is one of timm's; all that it stands for is given.
    """
    embed_dim, in_chans, patch_size, _ = state[_PATCHES].shape
    depths: dict[int, int] = {}
    for match in filter(None, map(_BLOCK.match, state)):
        depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    tables = [state[_TABLE.format(stage)].shape for stage in sorted(depths)]
    windows = [(math.isqrt(num_rows) + 1) // 2 for num_rows, _ in tables]
    sides = [windows[-1] * 2**later for later in reversed(range(len(tables)))]  # in tokens
    shrunk = [min(max(windows), side) for side in sides]  # a window is never larger than its stage
    return {
        "name": _NAMES.get(embed_dim, "swin_tiny_patch4_window7_224"),
        "img_size": patch_size * sides[0],
        "patch_size": patch_size,
        "window_size": max(windows) if windows == shrunk else tuple(windows),
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": tuple(depths[stage] for stage in sorted(depths)),
        "num_heads": tuple(heads for _, heads in tables),
    }
