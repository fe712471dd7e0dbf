"""Masked image modelling for Swin and ViT encoders: the route of one image, as rooms.

    data/shards, remote   which bytes of which tar, here or far away
      -> data/order       (seed, epoch, position) -> sample
      -> data/pixels      bytes -> crop -> pixels
      -> data/batches     samples -> one batch
      -> models           normalise, mask, encode, rebuild, and the error where it was hidden
      -> training         one step, and what happens between two steps
      -> record           what a run leaves in its folder; the table of many runs
      -> pretrained       encoder weights and their card, in and out
      -> evaluation       what an encoder is worth on held-out images

`runs` turns a config into these objects and lives one life of a run. docs/design.md names every
file.

In Python, in three lines; docs/api.md has more, and help() of each name is its manual::

    import ssl_swin
    encoder = ssl_swin.load_encoder("runs/mine/pretrain")
    features = encoder(encoder.preprocess(["a.jpg", "b.jpg"]))

Importing this package imports nothing else: a name is looked up when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_swin.data.batches.own_loop import make_loader
    from ssl_swin.data.batches.stream import ImageStream
    from ssl_swin.data.open import open_shards
    from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
    from ssl_swin.errors import UserError
    from ssl_swin.models.normalise import Normalisation
    from ssl_swin.models.simmim import SimMIM
    from ssl_swin.pretrained.load import load_classifier, load_encoder, save_encoder
    from ssl_swin.pretrained.preprocess import Preprocess
    from ssl_swin.training.own_trainer import pretrain_module

__version__ = "0.3.0"
__all__ = [
    "EvaluationTransform",
    "ImageStream",
    "Normalisation",
    "Preprocess",
    "SimMIM",
    "TrainTransform",
    "UserError",
    "load_classifier",
    "load_encoder",
    "make_loader",
    "open_shards",
    "pretrain_module",
    "save_encoder",
]

_ROOMS = {
    "EvaluationTransform": "data.pixels.transforms",
    "ImageStream": "data.batches.stream",
    "Normalisation": "models.normalise",
    "Preprocess": "pretrained.preprocess",
    "SimMIM": "models.simmim",
    "TrainTransform": "data.pixels.transforms",
    "UserError": "errors",
    "load_classifier": "pretrained.load",
    "load_encoder": "pretrained.load",
    "make_loader": "data.batches.own_loop",
    "open_shards": "data.open",
    "pretrain_module": "training.own_trainer",
    "save_encoder": "pretrained.load",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be asked for."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
