"""The format "timm": a folder that `timm.create_model` opens."""

from pathlib import Path
from typing import Any

from ssl_swin.models.swin_choices import sides
from ssl_swin.pretrained.export.card import WEIGHTS, write_json, write_weights
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.misfits import unlike_a_swin
from ssl_swin.pretrained.timm import to_timm
from ssl_swin.pretrained.timm_vit import timm_arguments, timm_name, to_timm_vit, unlike_timm
from ssl_swin.pretrained.vit_sizes import is_vit

LEFT_OUT = "the mask token, which timm's models do not have"


def misfit(handed: HandOff) -> str:
    """Return what timm cannot express, or nothing."""
    sizes = handed.sizes
    return next(unlike_timm(sizes) if is_vit(sizes) else unlike_a_swin(sizes), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write weights under timm's names, and its ``config.json``."""
    state, where = to_timm(handed.state), "head.fc"
    if is_vit(handed.sizes):
        state, where = to_timm_vit(handed.state, handed.sizes), "head"
    head = {f"{where}.{name}": value for name, value in handed.head.items()}
    write_weights(handed, folder, state | head)
    network, card = handed.network, handed.network.card
    cut = {"crop_pct": card.crop_pct, "crop_mode": "center"}
    if handed.resized_px is None:
        cut = {"crop_pct": 1.0, "crop_mode": "squash"}
    images = {
        "input_size": [network.in_chans, *network.img_size],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        **cut,
        "mean": list(card.mean),
        "std": list(card.std),
    }
    pretrained = {
        "num_classes": len(handed.classes),
        "first_conv": "patch_embed.proj",
        "classifier": where,
        "license": handed.licence,
        **images,
        **({"label_names": list(handed.classes)} if handed.classes else {}),
    }
    config = {
        "architecture": _name(handed),
        "num_classes": len(handed.classes),
        "num_features": network.num_features,
        "global_pool": "avg",
        "model_args": _arguments(handed),
        "pretrained_cfg": pretrained,
    }
    write_json(folder / "config.json", config)


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    given = {"num_classes": len(handed.classes)} | _arguments(handed)
    written = ", ".join(f"{name}={value!r}" for name, value in given.items())
    name, weights = _name(handed), f"{folder}/{WEIGHTS}"
    return "\n".join(
        [
            "import timm",
            "",
            f"model = timm.create_model({f'local-dir:{folder}'!r}, pretrained=True).eval()",
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
            "# or, with its sizes by hand:",
            f"sizes = dict({written})",
            f"model = timm.create_model({name!r}, checkpoint_path={weights!r}, **sizes).eval()",
        ]
    )


def _name(handed: HandOff) -> str:
    if is_vit(handed.sizes):
        return timm_name(handed.sizes)
    return str(handed.sizes["name"]).partition(".")[0]


def _arguments(handed: HandOff) -> dict[str, Any]:
    """Return what timm's model is built with, apart from its classes."""
    sizes = handed.sizes
    if is_vit(sizes):
        return timm_arguments(sizes)
    kept = ("img_size", "patch_size", "in_chans", "embed_dim", "depths", "num_heads")
    windows = {
        name: sizes[name] for name in ("window_size", "pretrained_window_sizes") if name in sizes
    }
    return {name: sizes[name] for name in kept} | {
        name: one if isinstance(one, int) else [list(sides(side)) for side in one]
        for name, one in windows.items()
    }
