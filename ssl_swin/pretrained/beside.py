"""What lies beside a file of weights: the JSON files that transformers and timm write there."""

import json
from pathlib import Path
from typing import Any

from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.config_windows import with_windows
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.timm import LARGEST

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LARGEST = 2**20  # bytes of a JSON file that is read
# Kind of a network of transformers -> what it has to compute as encoders here do.
_COMPUTED: dict[str, dict[str, tuple[Any, ...]]] = {
    **{kind: {"hidden_act": ("gelu",), "layer_norm_eps": (1e-5,)} for kind in ("swin", "swinv2")},
    **{kind: {"hidden_act": ("gelu",)} for kind in ("vit", "vit_mae", "beit")},
}


def with_beside(path: Path, weights: Weights) -> Weights:
    """Give weights the image size, mean and deviation that stand beside their file.

    It is one of those that the two libraries write; beside another one they may be of anything.

    Raises:
        PretrainedMismatch: If a network is computed otherwise than here, or nothing can be as large
            as its images.
    """
    if path.name not in _WEIGHTS:
        return weights
    config = _read(path.with_name(_CONFIG))
    if config.get("model_type") in _COMPUTED:
        _require_same(path, config, _COMPUTED[config["model_type"]])
    size, mean, std = _of_images(path, config)
    if (sides := _numbers([size, size] if isinstance(size, int) else size, 2)) is not None:
        most = LARGEST * weights.architecture["patch_size"]
        if not all(1 <= side <= most for side in sides):  # nothing is built of what is made up
            raise PretrainedMismatch(
                f"{path}: {_CONFIG} beside it says images of {sides} pixels; give 1 to {most}"
            )
        sizes = weights.architecture | {"img_size": tuple(map(int, sides))}
        weights = weights._replace(architecture=with_windows(sizes, weights.state, config))
    num = weights.architecture["in_chans"]
    means, stds = _numbers(mean, num), _numbers(std, num)
    if means is None or stds is None:
        return weights
    return weights._replace(mean=means, std=stds)


def colours_beside(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and deviation that stand beside weights; None if none do."""
    if path.name not in _WEIGHTS:
        return None
    _, mean, std = _of_images(path, _read(path.with_name(_CONFIG)))
    num = len(mean) if isinstance(mean, list) else 0
    means, stds = _numbers(mean, num), _numbers(std, num)
    return None if not means or not stds else (means, stds)


def _of_images(path: Path, config: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return what is said of images: size, mean and deviation, None each where nothing is."""
    if config.get("model_type") in _COMPUTED:
        images = _read(path.with_name(_PREPROCESSOR))
        return config.get("image_size"), images.get("image_mean"), images.get("image_std")
    if not isinstance(known := config.get("pretrained_cfg"), dict):  # timm's
        return None, None, None
    size = known.get("input_size")
    return size[-2:] if isinstance(size, list) else size, known.get("mean"), known.get("std")


def sizes_beside(path: Path) -> dict[str, Any]:
    """Return what stands beside weights of a ViT: `img_size` in pixels, `num_heads`, `norm_eps`."""
    if path.name not in _WEIGHTS:
        return {}
    config = _read(path.with_name(_CONFIG))
    size, heads = config.get("image_size"), config.get("num_attention_heads")
    if isinstance(known := config.get("pretrained_cfg"), dict):  # timm's
        given, size = config.get("model_args"), known.get("input_size")
        heads = given.get("num_heads") if isinstance(given, dict) else None
    if isinstance(size, list):
        size = size[-2:]
    sides = _numbers([size, size] if isinstance(size, int) else size, 2)
    found = {"img_size": None if sides is None else tuple(map(int, sides)), "num_heads": heads}
    found["norm_eps"] = config.get("layer_norm_eps")
    return {name: one for name, one in found.items() if isinstance(one, int | float | tuple)}


def _require_same(path: Path, config: dict[str, Any], computed: dict[str, tuple[Any, ...]]) -> None:
    for name, ours in computed.items():
        if config.get(name, ours[0]) not in ours:
            raise PretrainedMismatch(
                f"{path}: {_CONFIG} beside it says {name}={config[name]!r}, and encoders here have "
                f"{ours[0]!r}; give weights of a network with that"
            )


def _numbers(values: Any, num: int) -> tuple[float, ...] | None:
    """Return so many numbers, if that is what the values are."""
    if not isinstance(values, list) or len(values) != num:
        return None
    are_numbers = all(isinstance(one, int | float) for one in values)
    return tuple(map(float, values)) if are_numbers else None


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file says; nothing if there is none, or it is something else."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
