"""The format "torchvision": a state dict of its SwinTransformer, and what it is built with."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_swin.models.windows import Sides, relative_positions
from ssl_swin.pretrained.export.card import on_cpu, write_json
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.misfits import is_v2, unlike_a_swin, unlike_scales
from ssl_swin.pretrained.found import COORDINATES
from ssl_swin.pretrained.geometry import is_swin, largest_window
from ssl_swin.pretrained.swin_v2 import coordinates
from ssl_swin.pretrained.torchvision import TORCHVISION

LEFT_OUT = "the mask token, which torchvision's networks do not have"
STATE, SETTINGS = "model.pth", "model.json"
_LAYER = re.compile(r"^layers\.(\d+)\.(blocks|downsample)\.")
_STEM = {"patch_embed.proj.": "features.0.0.", "patch_embed.norm.": "features.0.2."}
_MLP = {".mlp.fc1.": ".mlp.0.", ".mlp.fc2.": ".mlp.3."}


def misfit(handed: HandOff) -> str:
    """Return what torchvision cannot express, or nothing."""
    sizes = handed.sizes
    found = chain(unlike_a_swin(sizes), _unlike_torchvision(sizes), TORCHVISION.unlike(sizes))
    return next(chain(found, unlike_scales(sizes, has_scales=False)), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write what `load_state_dict` takes strictly, and settings of model and images as JSON."""
    sizes = handed.sizes
    state = to_torchvision(handed.state) | {f"head.{k}": v for k, v in handed.head.items()}
    if is_v2(sizes):
        state = to_version_2(state, largest_window(sizes))
    model = {
        "patch_size": [sizes["patch_size"]] * 2,
        "embed_dim": sizes["embed_dim"],
        "depths": list(sizes["depths"]),
        "num_heads": list(sizes["num_heads"]),
        "window_size": list(largest_window(sizes)),
        "stochastic_depth_prob": 0.0,
        "num_classes": len(handed.classes) or 1000,
    }
    write_state(handed, folder, state, model)


def write_state(
    handed: HandOff, folder: Path, state: dict[str, Tensor], model: dict[str, Any]
) -> None:
    """Write tensors, and settings of the model and of how images are made ready."""
    torch.save(on_cpu(state), folder / STATE)
    card = handed.network.card
    crop = list(handed.network.img_size)
    images = {
        "crop_size": crop,
        "resize_size": crop if handed.resized_px is None else [handed.resized_px],
        "scale": card.dtype is None,
        "mean": list(card.mean),
        "std": list(card.std),
    }
    meta = {"license": handed.licence, "categories": list(handed.classes)}
    write_json(folder / SETTINGS, {"model": model, "transforms": images, "meta": meta})


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    parts, given = "SwinTransformer", "**settings['model']"
    if is_v2(handed.sizes):
        parts += ", SwinTransformerBlockV2, PatchMergingV2"
        given = f"block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2, {given}"
    head = [] if handed.classes else ["model.head = torch.nn.Identity()"]
    made = [f"model = SwinTransformer({given}).eval()", *head]
    return opening(folder, f"swin_transformer import {parts}", made)


def opening(folder: str, imported: str, made: list[str]) -> str:
    """Return the lines that open a network which is `made` of what is imported of theirs."""
    lines = [
        "import json",
        "from pathlib import Path",
        "import torch",
        f"from torchvision.models.{imported}",
        "from torchvision.transforms import InterpolationMode, v2",
        "",
        f"settings = json.loads(Path({f'{folder}/{SETTINGS}'!r}).read_text('utf-8'))",
        *made,
        f"state = torch.load({f'{folder}/{STATE}'!r}, weights_only=True)",
        "model.load_state_dict(state)",
        "images = settings['transforms']",
        "resize = v2.Resize(images['resize_size'], InterpolationMode.BICUBIC)",
        "crop = v2.CenterCrop(images['crop_size'])",
        "scale = v2.ToDtype(torch.float32, scale=images['scale'])",
        "normalise = v2.Normalize(images['mean'], images['std'])",
        "transform = v2.Compose([resize, crop, v2.ToImage(), scale, normalise])",
    ]
    return "\n".join(lines)


def to_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder, without its mask token, the names of torchvision.

    It keeps in its state which row of a position table belongs to which two places, too.

    Source:
        torchvision, models/swin_transformer.py.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = name.removeprefix("backbone.")
        if bare == name:
            continue
        theirs = _renamed(bare)
        renamed[theirs] = value
        before, found, _ = theirs.partition("relative_position_bias_table")
        if found:
            renamed[f"{before}relative_position_index"] = _index(len(value))
    return renamed


def to_version_2(state: Mapping[str, Tensor], window: Sides) -> dict[str, Tensor]:
    """Give the weights of a Swin V2, under names of torchvision, the form that they have there.

    The biases of queries and values are one, with zeros for keys between them. Coordinates of the
    window, and which of them belong to which two places, are in its state.

    Source:
        torchvision, models/swin_transformer.py, ``ShiftedWindowAttentionV2``.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        before, is_queries, _ = name.partition(".q_bias")
        if is_queries:
            values = state[f"{before}.v_bias"]
            found[f"{before}.qkv.bias"] = torch.cat([value, torch.zeros_like(value), values])
            found[f"{before}.{COORDINATES}"] = coordinates(window, window).to(value.dtype)
            positions = torch.from_numpy(relative_positions(window).ravel())
            found[f"{before}.relative_position_index"] = positions
        elif not name.endswith(".v_bias"):
            found[name] = value
    return found


def _renamed(name: str) -> str:
    """Return a name of theirs: blocks and down-samplings are counted as one list."""
    for ours, theirs in (_STEM | _MLP).items():
        name = name.replace(ours, theirs)
    if match := _LAYER.match(name):
        stage = int(match[1])
        place = 2 * stage if match[2] == "downsample" else 2 * stage + 1
        return f"features.{place}.{name[match.end() :]}"
    return name


def _index(num_rows: int) -> Tensor:
    """Return the index of a square window's table of so many rows."""
    side = (round(num_rows**0.5) + 1) // 2
    return torch.from_numpy(relative_positions((side, side)).ravel())


def _unlike_torchvision(sizes: dict[str, Any]) -> Iterator[str]:
    if not is_swin(sizes):
        return
    if sizes["in_chans"] != 3:
        yield f"images of {sizes['in_chans']} channels, as data.mean has them"
    if sum(sizes["depths"]) == 1:
        yield f"model.depths={list(sizes['depths'])}, a single block"
