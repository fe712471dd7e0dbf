"""The format "official": checkpoints of the SimMIM and Swin code."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.tensors import read_tensors
from ssl_swin.pretrained.timm import is_swin, swin_weights

_BUFFER = re.compile(r"(?:^|\.)(?:attn_mask|relative_position_index|relative_coords_table)$")
_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")


def read_official(path: Path) -> Weights | None:
    """Read a ``.pth`` of the official code, in torch's zip format."""
    if path.suffix not in (".pth", ".pt"):
        return None
    state, _ = read_tensors(path)
    ours = from_official(state)
    # timm has no down-sampling in its first stage.
    official = any(key.removeprefix("encoder.").startswith("layers.0.downsample.") for key in state)
    return swin_weights(ours) if official and is_swin(ours) else None


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of an official Swin the names they have in our SwinEncoder.

    A pretraining checkpoint loses its decoder, a supervised one its classification head; buffers
    that follow from the sizes are dropped. The official code counts down-sampling to the stage it
    leaves, timm to the stage it enters.

    Source:
        SimMIM code, utils.py, ``load_pretrained``; timm/models/swin_transformer.py.
    """
    prefix = "encoder." if any(key.startswith("encoder.") for key in state) else ""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name.startswith("head.") or _BUFFER.search(name):
            continue
        name = _DOWNSAMPLE.sub(lambda match: f"layers.{int(match[1]) + 1}.downsample.", name)
        renamed[name if name == "mask_token" else f"backbone.{name}"] = tensor
    return renamed
