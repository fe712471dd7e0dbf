"""Weights from elsewhere: the one table of how libraries name the tensors of a network.

How one more library does is a `Naming`, in a file of its own if it takes more than a line, and a
line in `NAMINGS`. One without a function `ours` is recognised, and told that there is no encoder
for it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.beside import sizes_beside, with_beside
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.found import MASK_TOKEN, Found, Naming, find
from ssl_swin.pretrained.huggingface import HUGGINGFACE, HUGGINGFACE_V2
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state
from ssl_swin.pretrained.mmpretrain import MMPRETRAIN, MMPRETRAIN_V2
from ssl_swin.pretrained.monai import MONAI
from ssl_swin.pretrained.official import OFFICIAL, OFFICIAL_V2
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.swin_v2 import sizes_of_v2, to_check, told_of_windows
from ssl_swin.pretrained.tensors import is_tensor_file, opened
from ssl_swin.pretrained.timm import TIMM, TIMM_V2, in_ours, sizes_of, swin_weights
from ssl_swin.pretrained.torchvision import TORCHVISION, TORCHVISION_V2
from ssl_swin.pretrained.unbuilt import UNBUILT
from ssl_swin.pretrained.vit import VIT_NAMINGS
from ssl_swin.pretrained.vit_sizes import is_vit, told_of_heads

NAMINGS: dict[str, Naming] = {
    "official v2": OFFICIAL_V2,
    "timm v2": TIMM_V2,
    "torchvision v2": TORCHVISION_V2,
    "huggingface v2": HUGGINGFACE_V2,
    "mmpretrain v2": MMPRETRAIN_V2,
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
                "this release has encoders of Swin, Swin V2 and ViT alone; give weights of one"
            )
        parts = {name: file.read(name) for theirs in found.names.values() for name in theirs}
        coordinates = {ours: file.read(name) for ours, name in found.coordinates.items()}
    said = sizes_beside(path)
    try:
        state = {in_ours(name): tensor for name, tensor in found.state(parts).items()}
        if found.naming.sizes is not None:
            sizes = found.naming.sizes(state, said)
        else:
            is_v2 = found.naming.is_v2
            sizes = sizes_of_v2(state, coordinates, said) if is_v2 else sizes_of(state, said)
        check_weights(state, sizes)
    except PretrainedMismatch as error:
        raise PretrainedMismatch(f"{path}, {found.naming.kind}: {error}") from error
    report = _report(found)
    if found.is_ours:
        weights = Weights(state, sizes, report=report)
    else:
        weights = with_beside(path, swin_weights(state, report, sizes))
        weights = weights._replace(unlike=found.naming.unlike)
    weights = weights._replace(is_guessed=weights.architecture["img_size"] != said.get("img_size"))
    told = None
    if found.naming.is_v2:
        told = told_of_windows(weights.architecture, bool(coordinates))
    elif is_vit(weights.architecture):
        told = told_of_heads(weights.architecture, said)
    remarks = report.remarks if told is None else (*report.remarks, told)
    return weights._replace(report=replace(report, remarks=remarks))


def check_weights(state: dict[str, Tensor], sizes: dict[str, Any]) -> None:
    """Make sure that weights are all of the encoder that is built with sizes.

    Raises:
        PretrainedMismatch: If they are not.
    """
    with torch.device("meta"):  # nothing is made of sizes that a file may have made up
        encoder = build_encoder(**to_check(sizes))
    tables = encoder.position_tables()  # can be resized
    expected = {name: one for name, one in encoder.state_dict().items() if name not in tables}
    given = {name: one for name, one in state.items() if name not in tables}
    check_state(given, expected, encoder.mask_parameters())


def _report(found: Found) -> Report:
    version = "Swin V2" if found.naming.is_v2 else "Swin" if found.naming.sizes is None else "ViT"
    kind = f"our {version} without a card" if found.is_ours else found.naming.kind
    return found.report(kind, {name: in_ours(name) for name in (*found.names, MASK_TOKEN)})
