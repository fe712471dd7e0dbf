"""The format "torchscript": a traced network that runs without Python, for batches of any size."""

import warnings
from pathlib import Path

import torch

from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.onnx import output, properties

LEFT_OUT = "the mask token, which images without a mask do not use"
MODEL = "model.pt"


def misfit(_: HandOff) -> str:
    """Return nothing: every network can be traced."""
    return ""


def write(handed: HandOff, folder: Path) -> None:
    """Write a trace of normalised images (batch, channels, height, width), float32.

    Card, licence, classes and how images are made ready lie in the file beside it.
    """
    network = handed.computing()
    images = torch.zeros(2, handed.network.in_chans, *handed.network.img_size)
    with torch.no_grad(), warnings.catch_warnings():
        # torch would rather have torch.export. TorchScript is what is asked for here.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)")
        # Sizes of images, heads and windows are fixed, and only the batch's may vary.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        traced = torch.jit.trace(network, images, check_trace=False)
        torch.jit.save(traced, folder / MODEL, _extra_files=properties(handed))


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    channels, (rows, cols) = handed.network.in_chans, handed.network.img_size
    return "\n".join(
        [
            "import torch",
            "",
            f"model = torch.jit.load({f'{folder}/{MODEL}'!r})",
            f"images = torch.zeros(1, {channels}, {rows}, {cols})  # normalised",
            f"{output(handed)} = model(images)",
        ]
    )
