"""Names of ViTs: how libraries call the tensors of a ViT, a BEiT, or SimMIM's own."""

import re
from dataclasses import replace

from ssl_swin.pretrained.found import MASK_TOKEN, Naming
from ssl_swin.pretrained.geometry import unlike_squares
from ssl_swin.pretrained.vit_sizes import hf_sizes_of, vit_sizes_of

_PATCHES, _THEIRS = "patch_embed.proj.weight", "patch_embed.projection.weight"
_EMBEDDINGS = "embeddings.patch_embeddings.projection.weight"
_SCALES = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}  # of a BEiT: of a ViT
# What changes what is computed, and which no encoder here has: kept, and so refused as unknown.
_OF_VIT = ("cls_token", "reg_token", "dist_token", "pos_embed", "norm_pre", "patch_embed")
_BODY = (*_OF_VIT, "rel_pos_bias", "blocks", "norm", "fc_norm", MASK_TOKEN)


def renamed_of_timm(name: str) -> str | None:
    """Rename; heads are no part of an encoder.

    Source:
        timm/models/vision_transformer.py and beit.py; SimMIM code, models/vision_transformer.py.
    """
    if name.split(".")[0] not in _BODY:
        return None
    before, _, last = name.rpartition(".")
    return f"{before}.{_SCALES[last]}" if last in _SCALES else name


def _mae(name: str) -> str | None:
    """Rename; its mask token is the decoder's."""
    return None if name == MASK_TOKEN else renamed_of_timm(name)


_EMBEDDED = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": MASK_TOKEN,
    "embeddings.position_embeddings": "pos_embed",
    "encoder.relative_position_bias": "rel_pos_bias",
    "shared_position_bias": "rel_pos_bias",
    "layernorm": "norm",
    "pooler.layernorm": "fc_norm",
}
# In files, and in modules before transformers 5.20; then in modules since.
_IN_BLOCKS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    **dict.fromkeys(("attention.attention.query", "attention.q_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.attention.key", "attention.k_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.attention.value", "attention.v_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.output.dense", "attention.o_proj"), "attn.proj"),
    **dict.fromkeys(("intermediate.dense", "mlp.fc1"), "mlp.fc1"),
    **dict.fromkeys(("output.dense", "mlp.fc2"), "mlp.fc2"),
    "lambda_1": "ls1.gamma",
    "lambda_2": "ls2.gamma",
    "attention.attention.relative_position_bias": "attn",
    "relative_position_bias": "attn",
}
_HF_BLOCK = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)")
_HF_PARTS = re.compile("(" + "|".join(map(re.escape, _IN_BLOCKS)) + r")(?=\.|$)")
_OWN_BIAS = {"query": "q_bias", "q_proj": "q_bias", "value": "v_bias", "v_proj": "v_bias"}


def _huggingface(name: str) -> str | None:
    """Rename; what is in none of the tables keeps its name, and is refused as unknown.

    Source:
        transformers, models/vit/modeling_vit.py, models/beit/modeling_beit.py.
    """
    for theirs, ours in _EMBEDDED.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    if match := _HF_BLOCK.fullmatch(name):
        rest = match[2]
        if part := _HF_PARTS.match(rest):
            rest = _IN_BLOCKS[part[1]] + rest.removeprefix(part[1])
        return f"blocks.{match[1]}.{rest}"
    return name if name.startswith("embeddings.") else None


def _huggingface_beit(name: str) -> str | None:
    """Rename; biases of queries and values are tensors of their own, and keys have none."""
    words = name.split(".")
    if words[-1] == "bias" and words[-2] in _OWN_BIAS and (match := _HF_BLOCK.fullmatch(name)):
        return f"blocks.{match[1]}.attn.{_OWN_BIAS[words[-2]]}"
    return _huggingface(name)


_TORCHVISION = {
    "conv_proj": "patch_embed.proj",
    "class_token": "cls_token",
    "encoder.pos_embedding": "pos_embed",
    "encoder.ln": "norm",
}
_TORCHVISION_BLOCK = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.(.+)")
_TORCHVISION_PARTS = {
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "self_attention.in_proj_": "attn.qkv.",
    "self_attention.out_proj.": "attn.proj.",
    **dict.fromkeys(("mlp.0.", "mlp.linear_1."), "mlp.fc1."),
    **dict.fromkeys(("mlp.3.", "mlp.linear_2."), "mlp.fc2."),
}


def _torchvision(name: str) -> str | None:
    """Rename.

    Source:
        torchvision, models/vision_transformer.py.
    """
    for theirs, ours in _TORCHVISION.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    if match := _TORCHVISION_BLOCK.fullmatch(name):
        return f"blocks.{match[1]}.{_replaced(match[2], _TORCHVISION_PARTS)}"
    return None


_MM_PARTS = {
    "ln1.": "norm1.",
    "ln2.": "norm2.",
    "attn.gamma1.weight": "ls1.gamma",
    "ffn.gamma2.weight": "ls2.gamma",
    "ffn.layers.0.0.": "mlp.fc1.",
    "ffn.layers.1.": "mlp.fc2.",
}
_MM_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")
_MM_ROOT = {"patch_embed.projection.": "patch_embed.proj.", "ln1.": "norm.", "ln2.": "fc_norm."}


def _mmpretrain(name: str) -> str | None:
    """Rename.

    Source:
        mmpretrain/models/backbones/vision_transformer.py, ``VisionTransformer``.
    """
    if match := _MM_BLOCK.fullmatch(name):
        return f"blocks.{match[1]}.{_replaced(match[2], _MM_PARTS)}"
    name = _replaced(name, _MM_ROOT)
    return name if name.split(".")[0] in (*_BODY, "pre_norm") else None


def _replaced(name: str, table: dict[str, str]) -> str:
    """Replace the beginning of a name that a table has."""
    for theirs, ours in table.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


_VIT = Naming("timm's ViT", _PATCHES, r"blocks\.0\.attn\.", renamed_of_timm, sizes=vit_sizes_of)
_HF = replace(
    _VIT,
    kind="the ViT of transformers",
    stem=_EMBEDDINGS,
    mark=r"(?:encoder\.layer|layers)\.0\.attention\.",
    ours=_huggingface,
    sizes=hf_sizes_of,
    in_order=(".query.", ".key.", ".value.", ".q_proj.", ".k_proj.", ".v_proj."),
)
# Of two that a file could be, what has more in it comes first.
VIT_NAMINGS: dict[str, Naming] = {
    "mae": replace(_VIT, kind="MAE's ViT", mark=r"decoder_blocks\.0\.", ours=_mae),
    "beit": replace(
        _VIT,
        kind="a ViT as SimMIM's official code and timm's BEiT have it",
        mark=r"blocks\.0\.attn\.(?:q_bias|relative_position_bias_table)$|rel_pos_bias\.",
    ),
    "vit": _VIT,
    "huggingface beit": replace(
        _HF,
        kind="the BEiT of transformers",
        mark=r"(?:encoder\.layer|layers)\.0\.(?:lambda_1$|.*relative_position_bias\.)"
        r"|(?:shared_position_bias|encoder\.relative_position_bias)\.",
        ours=_huggingface_beit,
        unlike=unlike_squares,
    ),
    "huggingface vit": _HF,
    "torchvision vit": replace(
        _VIT,
        kind="torchvision's ViT",
        stem="conv_proj.weight",
        mark=r"encoder\.layers\.encoder_layer_0\.",
        ours=_torchvision,
    ),
    "mmpretrain vit": replace(
        _VIT, kind="mmpretrain's ViT", stem=_THEIRS, mark=r"layers\.0\.attn\.", ours=_mmpretrain
    ),
}
"""Whose it is -> how it names things."""
