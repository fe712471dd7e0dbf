"""The format "official": checkpoints of the SimMIM and Swin code, and timm's before 0.9."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.found import find_swin
from ssl_swin.pretrained.tensors import is_tensor_file, opened
from ssl_swin.pretrained.timm import swin_weights

_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")


def read_official(path: Path) -> Weights | None:
    """Read a Swin under the official names, wrapped or not."""
    if not is_tensor_file(path):
        return None
    with opened(path) as file:
        found = find_swin(file.names)
        # timm has no down-sampling in its first stage.
        if found is None or not any(
            name.startswith("layers.0.downsample.") for name in found.names.values()
        ):
            return None
        state = from_official(found.read(file))
        return swin_weights(state, found.told("official Swin"))


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of an official Swin the names they have in our SwinEncoder.

    The official code counts down-sampling to the stage it leaves, timm to the stage it enters.

    Source:
        SimMIM code, utils.py, ``load_pretrained``; timm/models/swin_transformer.py.
    """
    return {
        name if name == "mask_token" else f"backbone.{_moved(name, 1)}": tensor
        for name, tensor in state.items()
    }


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder the official names, mask token included."""
    return {counted_as_left(name.removeprefix("backbone.")): one for name, one in state.items()}


def counted_as_left(name: str) -> str:
    """Return a name with down-sampling counted to the stage that it leaves."""
    return _moved(name, -1)


def _moved(name: str, by: int) -> str:
    return _DOWNSAMPLE.sub(lambda match: f"layers.{int(match[1]) + by}.downsample.", name)
