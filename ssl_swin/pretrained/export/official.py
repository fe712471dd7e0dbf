"""The format "official": a checkpoint of the Swin and SimMIM code, and its config."""

from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ssl_swin.models.swin_choices import sides
from ssl_swin.pretrained.export.card import on_cpu
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.misfits import is_v2, scales_of, unlike_a_swin, unlike_scales
from ssl_swin.pretrained.found import COORDINATES
from ssl_swin.pretrained.geometry import largest_window, stages_of
from ssl_swin.pretrained.official import OFFICIAL, to_official
from ssl_swin.pretrained.swin_v2 import coordinates

LEFT_OUT = "mean and deviation of pixels, which its code has of ImageNet: see card.json"
CHECKPOINT, CONFIG = "checkpoint.pth", "config.yaml"


def misfit(handed: HandOff) -> str:
    """Return what the official code cannot express, or nothing."""
    sizes = handed.sizes
    rows, cols = handed.network.img_size
    found = chain(unlike_a_swin(sizes, has_embedding=True), OFFICIAL.unlike(sizes))
    no_square = [] if rows == cols else [f"model.img_size={rows} x {cols}, no square"]
    return next(chain(found, no_square, unlike_scales(sizes)), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write ``{"model": tensors}`` by torch.save, and the settings as its YAML has them."""
    sizes = handed.sizes
    state = to_official(handed.state)
    if is_v2(sizes):
        state |= _coordinates(handed)
    swin: dict[str, Any] = {
        "PATCH_SIZE": sizes["patch_size"],
        "IN_CHANS": sizes["in_chans"],
        "EMBED_DIM": sizes["embed_dim"],
        "DEPTHS": list(sizes["depths"]),
        "NUM_HEADS": list(sizes["num_heads"]),
        "WINDOW_SIZE": largest_window(sizes)[0],
        "APE": sizes.get("position") == "both",
    }
    kind = "swin"
    if is_v2(sizes):
        kind, swin["PRETRAINED_WINDOW_SIZES"] = "swinv2", scales_of(sizes)
    write_checkpoint(handed, folder, state, {"TYPE": kind, kind.upper(): swin})


def write_checkpoint(
    handed: HandOff, folder: Path, state: dict[str, Tensor], model: dict[str, Any]
) -> None:
    """Write an encoder's tensors and the head's, and what the YAML says of the model."""
    head = {f"head.{name}": value for name, value in handed.head.items()}
    torch.save({"model": on_cpu(state | head)}, folder / CHECKPOINT)
    model = {"TYPE": model["TYPE"], "NAME": handed.name, "DROP_PATH_RATE": 0.0} | model
    if handed.classes:
        model["NUM_CLASSES"] = len(handed.classes)
    data = {"IMG_SIZE": handed.network.img_size[0], "INTERPOLATION": "bicubic"}
    text = yaml.safe_dump({"DATA": data, "MODEL": model}, sort_keys=False)
    (folder / CONFIG).write_text(text, encoding="utf-8")


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it, in a checkout of the official code."""
    module, kind, section = "swin_transformer", "SwinTransformer", "SWIN"
    if is_v2(handed.sizes):
        module, kind, section = "swin_transformer_v2", "SwinTransformerV2", "SWINV2"
    lines = [
        "import torch",
        "from config import _C as config  # in a checkout of the Swin code",
        f"from models.{module} import {kind}",
        "",
        f"config.merge_from_file({f'{folder}/{CONFIG}'!r})",
        f"sizes = {{key.lower(): value for key, value in config.MODEL.{section}.items()}}",
        f"sizes |= dict(img_size=config.DATA.IMG_SIZE, num_classes={len(handed.classes)})",
        f"model = {kind}(**sizes).eval()",
        f"state = torch.load({f'{folder}/{CHECKPOINT}'!r}, weights_only=True)['model']",
        "model.load_state_dict(state, strict=False)",
    ]
    return "\n".join(lines)


def _coordinates(handed: HandOff) -> dict[str, Tensor]:
    """Return the buffers of a Swin V2 that tell its windows; its code keeps them beside weights."""
    found, sizes = {}, handed.sizes
    scales = map(sides, sizes["pretrained_window_sizes"])
    for stage, scale, depth in zip(stages_of(sizes), scales, sizes["depths"], strict=True):
        table = coordinates(stage.window, scale)
        for block in range(depth):
            found[f"layers.{stage.number - 1}.blocks.{block}.attn.{COORDINATES}"] = table
    return found
