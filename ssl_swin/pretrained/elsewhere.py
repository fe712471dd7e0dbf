"""Weights from elsewhere: the one table of how libraries name the tensors of a network.

How one more library does is a `Naming`, in a file of its own if it takes more than a line, and a
line in `NAMINGS`. One without a function `ours` is recognised, and told that there is no encoder
for it.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.beside import sizes_beside, with_beside
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.found import MASK_TOKEN, Found, Naming, find
from ssl_swin.pretrained.huggingface import HUGGINGFACE
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state
from ssl_swin.pretrained.mmpretrain import MMPRETRAIN
from ssl_swin.pretrained.monai import MONAI
from ssl_swin.pretrained.official import OFFICIAL
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.tensors import is_tensor_file, opened
from ssl_swin.pretrained.timm import TIMM, in_ours, of_imagenet, sizes_of
from ssl_swin.pretrained.torchvision import TORCHVISION
from ssl_swin.pretrained.unbuilt import UNBUILT
from ssl_swin.pretrained.vit import VIT_NAMINGS

NAMINGS: dict[str, Naming] = {
    "official": OFFICIAL,
    "timm": TIMM,
    "torchvision": TORCHVISION,
    "huggingface": HUGGINGFACE,
    "mmpretrain": MMPRETRAIN,
    "monai": MONAI,
    **VIT_NAMINGS,
    **UNBUILT,
}
"""Whose it is -> how it names things. The first of which a file has a network is taken."""


def read_elsewhere(path: Path) -> Weights | None:
    """Read a network under names of `NAMINGS`, or ours without a card, wrapped or not.

    Raises:
        PretrainedMismatch: If the network is one for which there is no encoder, or is not whole.
    """
    if not is_tensor_file(path):
        return None
    with opened(path) as file:
        every = (find(file.names, naming) for naming in NAMINGS.values())
        found = next((one for one in every if one is not None), None)
        if found is None:
            return None
        if found.naming.ours is None:
            raise PretrainedMismatch(
                f"{path} is {found.naming.kind}{f' under {found.where!r}' if found.where else ''}: "
                "this release has encoders of Swin (version 1) and ViT alone; give weights of one"
            )
        parts = {name: file.read(name) for theirs in found.names.values() for name in theirs}
    try:
        state = {in_ours(name): tensor for name, tensor in found.state(parts).items()}
        sizes = _checked(state, found.naming, path)
    except PretrainedMismatch as error:
        raise PretrainedMismatch(f"{path}, {found.naming.kind}: {error}") from error
    report = _report(found)
    if found.is_ours:
        return Weights(state, sizes, report=report)
    return with_beside(path, of_imagenet(state, sizes, report))


def _checked(state: dict[str, Tensor], naming: Naming, path: Path) -> dict[str, Any]:
    """Return what builds an encoder for weights, once it is sure that they are all of its."""
    of_others = naming.sizes
    sizes = sizes_of(state) if of_others is None else of_others(state, sizes_beside(path))
    with torch.device("meta"):  # nothing is made of sizes that a file may have made up
        encoder = build_encoder(**sizes)
    tables = encoder.position_tables()  # can be resized
    expected = {name: one for name, one in encoder.state_dict().items() if name not in tables}
    given = {name: one for name, one in state.items() if name not in tables}
    check_state(given, expected, encoder.mask_parameters())
    return sizes


def _report(found: Found) -> Report:
    ours = "our Swin without a card" if found.naming.sizes is None else "our ViT without a card"
    kind = ours if found.is_ours else found.naming.kind
    return found.report(kind, {name: in_ours(name) for name in (*found.names, MASK_TOKEN)})
