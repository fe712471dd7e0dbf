"""The format "timm": weights of timm's Swin, from it and for it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ssl_swin.errors import MachineError, UserError
from ssl_swin.models.encoder import ENCODERS, Encoder, build_encoder
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.found import find_swin
from ssl_swin.pretrained.tensors import is_tensor_file, opened

_PREFIX = "backbone."
_PATCHES = "backbone.patch_embed.proj.weight"
_BLOCK = re.compile(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.")
_TABLE = "backbone.layers.{}.blocks.0.attn.relative_position_bias_table"
_NAMES = {128: "swin_base_patch4_window7_224", 192: "swin_large_patch4_window7_224"}  # by width


def read_timm(path: Path) -> Weights | None:
    """Read a Swin under timm's names, or ours without a card, wrapped or not."""
    if not is_tensor_file(path):
        return None
    with opened(path) as file:
        found = find_swin(file.names)
        if found is None:
            return None
        state = from_timm(found.read(file))
    if found.is_ours:
        return Weights(state, sizes_of(state), told=found.told("our Swin without a card"))
    return swin_weights(state, found.told("timm's Swin"))


def read_named(name: str) -> Weights | None:
    """Read the weights that timm has under a name, such as "swin_tiny_patch4_window7_224.ms_in1k".

    Those that timm fetched before are in its cache; others it fetches. None if we know no encoder
    of that name.

    Raises:
        UserError: If timm has no such weights.
        MachineError: If they are not in the cache, and cannot be had.
    """
    if name.partition(".")[0] not in ENCODERS or not timm.is_model(name):
        return None
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"timm has no weights of {name}, give another: {error}") from error
    except OSError as error:
        raise MachineError(
            f"the weights of timm's {name} are not in its cache and cannot be fetched: get them "
            f"where there is a network, or give a file ({type(error).__name__})"
        ) from error
    found = swin_weights(from_timm(model.state_dict()), f"timm's {name}")
    sizes = {"name": name, "img_size": tuple(model.patch_embed.img_size)}
    mean, std = (tuple(model.pretrained_cfg[key]) for key in ("mean", "std"))
    return found._replace(architecture=found.architecture | sizes, mean=mean, std=std)


def timm_model(encoder: Encoder) -> nn.Module:
    """Return a model of timm, without head, with a copy of the weights and in the same mode.

    It has no mask token. Called on normalised images it gives (batch, num_features), the mean over
    positions.

    Raises:
        UserError: If the encoder is none of timm's.
    """
    sizes = encoder.architecture()
    if not timm.is_model(sizes["name"]):
        raise UserError(
            f"{sizes['name']} is no model of timm, which only takes those of timm.list_models()"
        )
    theirs: Any = build_encoder(**sizes, implementation="timm")  # refuses what timm has not
    theirs.load_state_dict(encoder.state_dict())
    backbone: nn.Module = theirs.backbone
    module: Any = encoder
    return backbone.to(module.mask_token).train(module.training)


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder, without its mask token, the names they have in timm.

    They load strictly into ``timm.create_model(name, num_classes=0, ...)`` of its architecture.
    """
    return {
        key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)
    }


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights, without classification head, the names they have in our SwinEncoder."""
    return {
        key if key == "mask_token" else _PREFIX + key: value
        for key, value in state.items()
        if not key.startswith("head.")
    }


def swin_weights(state: dict[str, Tensor], told: str) -> Weights:
    """Describe weights of a Swin that have no card, under our names.

    Those for three channels were trained on ImageNet.
    """
    architecture = sizes_of(state)
    if architecture["in_chans"] != 3:
        return Weights(state, architecture, told=told)
    return Weights(state, architecture, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, told=told)


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
