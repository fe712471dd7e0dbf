"""The table of formats that weights go out in.

A new format is a file of its own with these functions, and a line in `EXPORT_FORMATS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ssl_swin.errors import UserError
from ssl_swin.pretrained.export import (
    huggingface,
    huggingface_vit,
    official,
    official_vit,
    onnx,
    ours,
    timm,
    torchscript,
    torchvision,
    torchvision_vit,
)
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.vit_sizes import is_vit


@dataclass(frozen=True)
class Format:
    """A way to hand weights on."""

    library: str
    """Whose it is, as model cards call it."""
    misfit: Callable[[HandOff], str]
    """What of a network it cannot express, as ``model.setting=value``; or nothing."""
    write: Callable[[HandOff, Path], None]
    """Write the files into an empty folder."""
    python: Callable[[HandOff, str], str]
    """The lines of Python that open a folder of these files."""
    left_out: str
    """What is not handed on; or nothing."""


def _of(library: str, module: ModuleType, of_vit: ModuleType | None = None) -> Format:
    def its(handed: HandOff) -> ModuleType:
        return module if of_vit is None or not is_vit(handed.sizes) else of_vit

    return Format(
        library,
        lambda handed: its(handed).misfit(handed),
        lambda handed, folder: its(handed).write(handed, folder),
        lambda handed, folder: its(handed).python(handed, folder),
        module.LEFT_OUT,
    )


EXPORT_FORMATS: dict[str, Format] = {
    "timm": _of("timm", timm),
    "hf": _of("transformers", huggingface, huggingface_vit),
    "torchvision": _of("torchvision", torchvision, torchvision_vit),
    "official": _of("swin-transformer", official, official_vit),
    "onnx": _of("onnx", onnx),
    "torchscript": _of("torchscript", torchscript),
    "safetensors": _of("ssl_swin", ours),
}
"""Name of a format -> what it is."""


def fitting(name: str, handed: HandOff) -> Format:
    """Return a format of the table that can express a network.

    Raises:
        UserError: If it cannot; the line names the setting, and the formats that can.
    """
    found = EXPORT_FORMATS[name]
    if misfit := found.misfit(handed):
        able = [other for other, one in EXPORT_FORMATS.items() if not one.misfit(handed)]
        raise UserError(f"format={name} cannot express {misfit}; use one of {', '.join(able)}")
    return found
