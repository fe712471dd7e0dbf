"""The windows of a Swin that a ``config.json`` beside its weights tells."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import ENCODERS, build_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.swin_v2 import SCALES, WINDOWS
from ssl_swin.pretrained.timm import LARGEST_WINDOW

_WINDOWS = (WINDOWS, SCALES)


def with_windows(
    sizes: dict[str, Any], state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the sizes of a Swin the windows that timm's or transformers' ``config.json`` tells.

    No weight of a Swin V2 tells them. Those of a Swin, version 1, tell how many displacements they
    have; which are taken to be of squares, unless somebody says otherwise.

    Raises:
        PretrainedMismatch: If no Swin V2 has such windows.
    """
    if WINDOWS not in sizes:
        return sizes
    if sizes[WINDOWS] is None:
        return _of_version_2(sizes, config)
    return sizes if SCALES in sizes else _of_version_1(sizes, state, config)


def _of_version_2(sizes: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Give sizes without windows those that are told, and the scales."""
    given = config if config.get("model_type") == "swinv2" else config.get("model_args")
    told = {name: _whole(given.get(name)) for name in _WINDOWS} if isinstance(given, dict) else {}
    name, found = config.get("architecture"), {key: one for key, one in told.items() if one}
    if isinstance(scales := found.get(SCALES), tuple):  # both libraries take the first of them
        found[SCALES] = scales[: len(sizes["depths"])]
    if not isinstance(name, str) or ENCODERS.get(name) is not ENCODERS[sizes["name"]]:
        name = sizes["name"] if WINDOWS in found else None
    if name is None:
        return sizes
    if any(one > LARGEST_WINDOW for one in _sides(found.get(WINDOWS, 0))):
        raise PretrainedMismatch(
            f"config.json beside it says {found}: give at most {LARGEST_WINDOW}"
        )
    try:
        with torch.device("meta"):  # only sizes are wanted
            windows = build_encoder(**(sizes | {"name": name} | found)).architecture()
    except (UserError, TypeError) as error:
        raise PretrainedMismatch(f"config.json beside it says {found}: {error}") from error
    return sizes | {key: windows[key] for key in ("name", *_WINDOWS)}


def _of_version_1(
    sizes: dict[str, Any], state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Give sizes with square windows, by the tables' lengths, those that are told, if they fit."""
    name, given = config.get("architecture"), config.get("model_args")
    told = _whole(given.get(WINDOWS)) if isinstance(given, dict) else None
    if not isinstance(name, str) or ENCODERS.get(name) is not ENCODERS[sizes["name"]]:
        return sizes
    if any(one > LARGEST_WINDOW for one in _sides(told or 0)):
        return sizes
    try:
        with torch.device("meta"):  # only sizes are wanted
            encoder = build_encoder(**(sizes | {"name": name, WINDOWS: told}))
    except (UserError, TypeError):
        return sizes
    own = encoder.state_dict()
    tables = encoder.position_tables()
    if any(key not in state or state[key].shape != own[key].shape for key in tables):
        return sizes
    return sizes | {WINDOWS: encoder.architecture()[WINDOWS]}


def _whole(value: Any) -> Any:
    """Return what JSON says of windows, whole numbers alone; None if it is something else."""
    if isinstance(value, list):
        many = tuple(map(_whole, value))
        return None if None in many else many
    return value if type(value) is int else None


def _sides(windows: Any) -> list[int]:
    """Return all numbers of one window, or of those of stages."""
    return [windows] if isinstance(windows, int) else [n for one in windows for n in _sides(one)]
