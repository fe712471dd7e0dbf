"""The official names: checkpoints of the SimMIM and Swin code, and timm's before 0.9."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from ssl_swin.pretrained.geometry import shrunk, unlike_windows
from ssl_swin.pretrained.timm import TIMM, TIMM_V2, body, from_timm, in_version_2

_DOWNSAMPLE = re.compile(r"^layers\.(\d+)\.downsample\.")


def _ours(name: str) -> str | None:
    return body(counted_as_entered(name))


# timm has no down-sampling in its first stage.
OFFICIAL = replace(
    TIMM,
    kind="official Swin",
    mark=r"layers\.0\.downsample\.",
    ours=_ours,
    unlike=partial(unlike_windows, fits=shrunk),
)


OFFICIAL_V2 = replace(
    TIMM_V2,
    kind="official Swin V2",
    also=OFFICIAL.mark,
    ours=lambda name: in_version_2(_ours(name)),
    unlike=OFFICIAL.unlike,
)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of an official Swin the names they have in our SwinEncoder."""
    return from_timm({counted_as_entered(name): tensor for name, tensor in state.items()})


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder the official names, mask token included."""
    return {counted_as_left(name.removeprefix("backbone.")): one for name, one in state.items()}


def counted_as_entered(name: str) -> str:
    """Return a name with down-sampling counted to the stage that it enters, as timm does.

    Source:
        SimMIM code, utils.py, ``load_pretrained``; timm/models/swin_transformer.py.
    """
    return _moved(name, 1)


def counted_as_left(name: str) -> str:
    """Return a name with down-sampling counted to the stage that it leaves."""
    return _moved(name, -1)


def _moved(name: str, by: int) -> str:
    return _DOWNSAMPLE.sub(lambda match: f"layers.{int(match[1]) + by}.downsample.", name)
