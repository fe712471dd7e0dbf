"""The format "onnx": a graph that any ONNX runtime computes, for batches of any size."""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from ssl_swin.errors import UserError
from ssl_swin.pretrained.export.handoff import HandOff

LEFT_OUT = "the mask token, which images without a mask do not use"
MODEL, INPUT = "model.onnx", "images"
OPSET = 18  # of ONNX's operators; torch's exporter is written for it
_PACKAGES = ("onnx", "onnxscript")


def misfit(_: HandOff) -> str:
    """Return nothing: every network is a graph."""
    return ""


def write(handed: HandOff, folder: Path) -> None:
    """Write a graph of normalised images (batch, channels, height, width), float32.

    Card, licence, classes and how images are made ready are among its properties.

    Raises:
        UserError: If a package is missing.
    """
    check_installed(_PACKAGES, "onnx")
    # an extra, and slow to import
    import onnx

    network = handed.computing()
    images = torch.zeros(2, handed.network.in_chans, *handed.network.img_size)
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.11 says it of its own exporter.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        program: Any = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[output(handed)],
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    _forget_source(model.graph)
    onnx.helper.set_model_props(model, properties(handed))
    onnx.save(model, folder / MODEL)


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    channels, (rows, cols) = handed.network.in_chans, handed.network.img_size
    return "\n".join(
        [
            "import numpy",
            "import onnxruntime",
            "",
            f"session = onnxruntime.InferenceSession({f'{folder}/{MODEL}'!r})",
            f"images = numpy.zeros((1, {channels}, {rows}, {cols}), numpy.float32)  # normalised",
            f"({output(handed)},) = session.run(None, {{{INPUT!r}: images}})",
        ]
    )


def output(handed: HandOff) -> str:
    """Return what the output is called."""
    return "logits" if handed.classes else "features"


def properties(handed: HandOff) -> dict[str, str]:
    """Return what a file says of itself, as text by name; JSON where it is no single word."""
    card, size = handed.network.card, list(handed.network.img_size)
    images = {
        "resize_short_side": handed.resized_px,  # null: resize to rows and columns
        "crop_size": size,
        "interpolation": "bicubic",
        "scale": 1 / 255 if card.dtype is None else 1,
        "mean": list(card.mean),
        "std": list(card.std),
    }
    told = {"card": handed.card, "preprocessing": images, "classes": list(handed.classes)}
    return {"license": handed.licence} | {name: json.dumps(value) for name, value in told.items()}


def check_installed(packages: tuple[str, ...], extra: str) -> None:
    """Check that packages are here.

    Raises:
        UserError: If one is not.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"format={extra} needs {' and '.join(missing)}, which this Python lacks; install "
            f"ssl-swin[{extra}]"
        )


def _forget_source(graph: Any) -> None:
    """Take away which lines of which files of this machine each part was made by."""
    for parts in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
        for part in parts:
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
