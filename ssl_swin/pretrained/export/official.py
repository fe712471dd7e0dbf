"""The format "official": a checkpoint of the Swin and SimMIM code, and its config."""

from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ssl_swin.models.windows import Sides
from ssl_swin.pretrained.export.card import on_cpu
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.misfits import (
    Stage,
    largest_window,
    unlike_a_swin,
    unlike_windows,
)
from ssl_swin.pretrained.official import to_official

LEFT_OUT = "mean and deviation of pixels, which its code has of ImageNet: see card.json"
CHECKPOINT, CONFIG = "checkpoint.pth", "config.yaml"


def misfit(handed: HandOff) -> str:
    """Return what the official code cannot express, or nothing."""
    sizes = handed.sizes
    rows, cols = handed.network.img_size
    found = chain(unlike_a_swin(sizes, has_embedding=True), unlike_windows(sizes, _wrong))
    no_square = [] if rows == cols else [f"model.img_size={rows} x {cols}, no square"]
    return next(chain(found, no_square), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write ``{"model": tensors}`` by torch.save, and the settings as its YAML has them."""
    sizes = handed.sizes
    swin = {
        "PATCH_SIZE": sizes["patch_size"],
        "IN_CHANS": sizes["in_chans"],
        "EMBED_DIM": sizes["embed_dim"],
        "DEPTHS": list(sizes["depths"]),
        "NUM_HEADS": list(sizes["num_heads"]),
        "WINDOW_SIZE": largest_window(sizes)[0],
        "APE": sizes.get("position") == "both",
    }
    write_checkpoint(handed, folder, to_official(handed.state), {"TYPE": "swin", "SWIN": swin})


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
    lines = [
        "import torch",
        "from config import _C as config  # in a checkout of the Swin code",
        "from models.swin_transformer import SwinTransformer",
        "",
        f"config.merge_from_file({f'{folder}/{CONFIG}'!r})",
        "sizes = {key.lower(): value for key, value in config.MODEL.SWIN.items()}",
        f"sizes |= dict(img_size=config.DATA.IMG_SIZE, num_classes={len(handed.classes)})",
        "model = SwinTransformer(**sizes).eval()",
        f"state = torch.load({f'{folder}/{CHECKPOINT}'!r}, weights_only=True)['model']",
        "model.load_state_dict(state, strict=False)",
    ]
    return "\n".join(lines)


def _wrong(stage: Stage, largest: Sides) -> str | None:
    """Say what is wrong with a stage.

    The official code has one window for all stages; in one that is not larger it is the whole
    stage, without shift, and has to be square.

    Source:
        Swin code, models/swin_transformer.py, ``SwinTransformerBlock.__init__``.
    """
    side = min(largest[0], *stage.grid)
    is_whole = min(stage.grid) <= largest[0]
    if stage.window == (side, side) and not (is_whole and stage.grid != stage.window):
        return None
    rows, cols = stage.window
    return f"whose windows of {rows} x {cols} in stage {stage.number} are none of the official code"
