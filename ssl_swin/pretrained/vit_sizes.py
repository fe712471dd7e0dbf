"""The sizes of a ViT, read from its weights and from what lies beside them."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_swin.models.encoder import ENCODERS
from ssl_swin.models.vit_block import CLASS_ROWS, EPS
from ssl_swin.pretrained.mismatch import PretrainedMismatch, shape_of

_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")
_FIRST = "backbone.blocks.0."
_TABLES = (
    "backbone.rel_pos_bias.relative_position_bias_table",
    f"{_FIRST}attn.relative_position_bias_table",
)
_LARGEST, _LARGEST_TABLE = 1024, 48  # tokens a side, more than anybody's, and still cheap to build
_NAMED = {192: ("tiny", 3), 384: ("small", 6), 768: ("base", 12), 1024: ("large", 16)} | {
    1280: ("huge", 16)
}  # by width: the size, and how many heads it has
_HEAD_DIM = 64  # of all of these but the last
_INIT = 0.1  # with which scales start of BEiT and SimMIM: no weight tells


def is_vit(sizes: Mapping[str, Any]) -> bool:
    """Say whether sizes, as in `architecture`, are those of a ViT."""
    return "qkv_bias" in sizes


def vit_sizes_of(state: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of `build_encoder` from a ViT's weights, under our names.

    `said` are sizes that stand beside the weights, or that their library has. Else images are taken
    to be square, and heads to have as many channels as in all published ViTs of the width, for no
    weight tells.

    Raises:
        PretrainedMismatch: If the weights are not those of a ViT.
    """
    embed_dim, in_chans, patch_size, _ = shape_of(
        state, "backbone.patch_embed.proj.weight", 4, "a ViT"
    )
    numbers = {int(match[1]) for match in map(_BLOCK.match, state) if match}
    if numbers != set(range(len(numbers))):
        raise PretrainedMismatch(
            f"blocks are not numbered from 0 without a gap: {sorted(numbers)[:9]}; fetch the file "
            "again, or save the whole state_dict()"
        )
    shared, own = (name in state for name in _TABLES)
    is_absolute, class_token = "backbone.pos_embed" in state, "backbone.cls_token" in state
    table = shape_of(state, _TABLES[0 if shared else 1], 2, "a ViT") if shared or own else None
    size, num_heads = _NAMED.get(embed_dim, ("base", embed_dim // _HEAD_DIM))
    num_heads = said.get("num_heads") or (num_heads if table is None else table[1])
    if num_heads < 1 or embed_dim % num_heads:
        raise PretrainedMismatch(
            f"nothing says how many heads its {embed_dim} channels have, which no published ViT "
            "has: keep the config.json of its library beside model.safetensors"
        )
    name = f"vit_{size}_patch{patch_size}_224"
    sizes = {
        "name": name if name in ENCODERS else "vit_base_patch16_224",
        "patch_size": patch_size,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": (len(numbers),),
        "num_heads": (num_heads,),
        "position": _POSITIONS[is_absolute, own, shared],
        "class_token": class_token,
        "qkv_bias": _qkv_bias(state),
        "init_values": _INIT if f"{_FIRST}ls1.gamma" in state else 0.0,
        "fc_norm": "backbone.fc_norm.weight" in state,
        "norm_eps": float(said.get("norm_eps", EPS)),
    }
    return sizes | {"img_size": said.get("img_size") or _img_size(state, table, sizes)}


def told_of_heads(sizes: Mapping[str, Any], said: Mapping[str, Any]) -> str | None:
    """Say in a line of a report that nobody says how many heads a ViT has, if it is so."""
    if said.get("num_heads") or sizes["position"] not in ("absolute", "none"):
        return None
    embed_dim, (num_heads,) = sizes["embed_dim"], sizes["num_heads"]
    as_ = "published ViTs of the width" if embed_dim in _NAMED else f"{_HEAD_DIM} channels each"
    return f"heads are taken to be {num_heads}, as {as_}: nobody says; load_encoder takes num_heads"


def hf_sizes_of(state: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same for weights of transformers, whose norms usually add another number."""
    return vit_sizes_of(state, {"norm_eps": 1e-12} | dict(said))


_POSITIONS = {
    (True, False, False): "absolute",
    (False, True, False): "relative",
    (True, True, False): "both",
    (False, False, True): "relative-shared",
    (False, False, False): "none",
    # No encoder here has these; a name is missing then, and the line says which.
    (True, False, True): "relative-shared",
    (False, True, True): "relative-shared",
    (True, True, True): "relative-shared",
}
"""Whether there is an embedding, a table of each block, one of all -> the setting."""


def _qkv_bias(state: Mapping[str, Tensor]) -> str:
    if f"{_FIRST}attn.q_bias" in state:
        return "qv"
    return "qkv" if f"{_FIRST}attn.qkv.bias" in state else "none"


def _img_size(
    state: Mapping[str, Tensor], table: tuple[int, ...] | None, sizes: Mapping[str, Any]
) -> int:
    """Return the side of the images in pixels; 224 if nothing is learned of places."""
    extra, patch_size = int(sizes["class_token"]), sizes["patch_size"]
    if table is not None:
        rows = table[0] - CLASS_ROWS * extra
        side = (math.isqrt(max(0, rows)) + 1) // 2
        is_square, what = (2 * side - 1) ** 2 == rows, f"a position table of {table[0]} rows"
    elif "backbone.pos_embed" in state:
        num = shape_of(state, "backbone.pos_embed", 3, "a ViT")[1]
        side = math.isqrt(max(0, num - extra))
        is_square, what = side**2 == num - extra, f"an embedding of {num} tokens"
    else:
        return max(1, 224 // patch_size) * patch_size
    if not is_square or not 0 < side <= (_LARGEST if table is None else _LARGEST_TABLE):
        raise PretrainedMismatch(
            f"{what} is of no square image, or of one too large to be a ViT's; keep the "
            "config.json of its library beside model.safetensors, or give another file"
        )
    return side * patch_size
