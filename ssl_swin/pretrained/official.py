"""The layout "official": checkpoints of the SimMIM and Swin code, and timm's before 0.9."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ssl_swin.pretrained.timm import TIMM, from_timm

_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")


def entered(name: str) -> str:
    """Count down-sampling to the stage it enters, as timm; the official code to the one it leaves.

    Source:
        SimMIM code, utils.py, ``load_pretrained``; timm/models/swin_transformer.py.
    """
    return _DOWNSAMPLE.sub(lambda match: f"layers.{int(match[1]) + 1}.downsample.", name)


def _ours(name: str) -> str | None:
    return TIMM.ours(entered(name)) if TIMM.ours else None


# timm has no down-sampling in its first stage.
OFFICIAL = replace(TIMM, kind="official Swin", mark=r"layers\.0\.downsample\.", ours=_ours)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of an official Swin the names they have in our SwinEncoder."""
    return from_timm({entered(name): tensor for name, tensor in state.items()})
