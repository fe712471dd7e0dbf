"""What may be chosen of a ViT: its sizes, and what it learns of places, scales and means."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypedDict, get_args

import timm
import torch
from torch import nn

from ssl_swin.errors import UserError
from ssl_swin.models.vit_backbone import ViTKind
from ssl_swin.models.vit_block import EPS, QkvBias

ViTPosition = Literal["absolute", "relative", "relative-shared", "both", "none"]


class ViTChoices(TypedDict, total=False):
    """Sizes and kind of a ViT; what is not given, or None, is timm's of the name."""

    patch_size: int | None
    """Side of a token in pixels."""
    embed_dim: int | None
    """Channels."""
    depths: tuple[int, ...] | None
    """Blocks; one number, for a ViT is one stage."""
    num_heads: tuple[int, ...] | None
    """Attention heads; one number."""
    position: ViTPosition | None
    """What is learned of places: "absolute" embedding, "relative" bias of each block, or one for
    all blocks, "relative-shared"; absolute and of each block, "both"; "none"."""
    class_token: bool | None
    """Whether a token goes through all blocks that is of no place; no feature is made of it."""
    qkv_bias: QkvBias | None
    """Biases of queries, keys and values, "qkv"; of queries and values, "qv"; or "none"."""
    init_values: float | None
    """With which learned scales of each branch's channels start; 0 for no scales."""
    fc_norm: bool | None
    """Whether the last norm is of the mean over positions, and not of each position."""
    norm_eps: float | None
    """What norms add to variances: 1e-6, or 1e-12 as in transformers."""


_ALLOWED: dict[str, tuple[Any, ...]] = {
    "position": get_args(ViTPosition),
    "qkv_bias": get_args(QkvBias),
    "class_token": (True, False),
    "fc_norm": (True, False),
}
_LARGEST_EPS = 1e-3
_COUNTS = ("patch_size", "embed_dim", "depths", "num_heads")


def vit_sizes(name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return all sizes of a ViT: what is given, and of the rest what timm has under the name.

    Raises:
        UserError: If they do not fit each other, or one of them is no size of a ViT.
    """
    if unknown := choices.keys() - ViTChoices.__annotations__.keys():
        raise UserError(
            f"a ViT has no {', '.join(sorted(unknown))}; it takes only "
            f"{', '.join(ViTChoices.__annotations__)}"
        )
    given = {key: value for key, value in choices.items() if value is not None}
    for key, allowed in _ALLOWED.items():
        if key in given and given[key] not in allowed:
            raise UserError(f"{key}={given[key]!r} must be one of {', '.join(map(str, allowed))}")
    missing = ViTChoices.__annotations__.keys() - given.keys()
    sizes = (dict(_named(name)) if missing else {}) | given
    sizes |= {key: _one(key, sizes[key]) for key in ("depths", "num_heads")}
    if any(_number(sizes[key]) < 1 for key in _COUNTS):
        told = ", ".join(f"{key}={sizes[key]}" for key in _COUNTS)
        raise UserError(f"{told}: each must be at least 1")
    if not 0 <= sizes["init_values"] <= 1:
        raise UserError(f"init_values={sizes['init_values']} must lie in [0, 1]; 0 for no scales")
    if not 0 < sizes["norm_eps"] <= _LARGEST_EPS:
        raise UserError(f"norm_eps={sizes['norm_eps']} must lie in (0, {_LARGEST_EPS}]")
    if sizes["embed_dim"] % sizes["num_heads"][0]:
        raise UserError(
            f"num_heads={sizes['num_heads'][0]} does not divide the {sizes['embed_dim']} channels "
            "of embed_dim; choose both so that it does"
        )
    return sizes


def vit_kind(sizes: Mapping[str, Any]) -> ViTKind:
    """Return what a ViT of these sizes has."""
    position = sizes["position"]
    return ViTKind(
        absolute=position in ("absolute", "both"),
        relative=position in ("relative", "both"),
        shared=position == "relative-shared",
        class_token=sizes["class_token"],
        qkv_bias=sizes["qkv_bias"],
        init_values=sizes["init_values"],
        fc_norm=sizes["fc_norm"],
        norm_eps=sizes["norm_eps"],
    )


@lru_cache
def _named(name: str) -> Mapping[str, Any]:
    """Return the sizes of timm's ViT or BEiT of a name."""
    with torch.device("meta"):  # only its sizes are wanted
        theirs: Any = timm.create_model(name, num_classes=0)
    block = theirs.blocks[0]
    has_table = getattr(block.attn, "relative_position_bias_table", None) is not None
    sizes = {
        "patch_size": int(theirs.patch_embed.patch_size[0]),
        "embed_dim": int(theirs.embed_dim),
        "depths": (len(theirs.blocks),),
        "num_heads": (int(block.attn.num_heads),),
        "position": "relative" if has_table else "absolute",
        "class_token": theirs.cls_token is not None,
        "qkv_bias": "qkv" if getattr(block.attn, "q_bias", None) is None else "qv",
        "init_values": float(getattr(block, "init_values", None) or 0.0),
        "fc_norm": not isinstance(theirs.fc_norm, nn.Identity),
        "norm_eps": EPS,
    }
    return MappingProxyType(sizes)


def _one(key: str, given: Any) -> tuple[int, ...]:
    values = (given,) if isinstance(given, int) else tuple(given)
    if len(values) != 1:
        raise UserError(f"{key}={given} has {len(values)} values, and a ViT is one stage: give one")
    return values


def _number(value: Any) -> int:
    return value if isinstance(value, int) else value[0]
