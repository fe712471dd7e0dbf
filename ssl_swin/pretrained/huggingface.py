"""Names of Hugging Face: `SwinModel` and `Swinv2Model` of transformers, alone or below a head."""

import re
from dataclasses import replace
from functools import partial

from ssl_swin.pretrained.found import MASK_TOKEN, Naming
from ssl_swin.pretrained.geometry import never_smaller, shrunk, unlike_windows
from ssl_swin.pretrained.official import counted_as_entered

_EMBEDDED = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.norm": "patch_embed.norm",
    "embeddings.mask_token": MASK_TOKEN,
    "embeddings.position_embeddings": "absolute_pos_embed",
    "layernorm": "norm",
}
# In files, and in modules before transformers 5.20; then in modules since.
_IN_BLOCKS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    **dict.fromkeys(("attention.self.query", "attention.q_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.self.key", "attention.k_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.self.value", "attention.v_proj"), "attn.qkv"),
    **dict.fromkeys(("attention.output.dense", "attention.o_proj"), "attn.proj"),
    **dict.fromkeys(("attention.self", "attention.relative_position_bias"), "attn"),
    **dict.fromkeys(("intermediate.dense", "mlp.fc1"), "mlp.fc1"),
    **dict.fromkeys(("output.dense", "mlp.fc2"), "mlp.fc2"),
}
_BLOCK = re.compile(r"encoder\.(layers\.\d+\.blocks\.\d+\.)(.+)")
_PARTS = re.compile("(" + "|".join(map(re.escape, _IN_BLOCKS)) + r")(?=\.)")


def _ours(name: str) -> str | None:
    """Rename; what is in none of the tables keeps its name, and is refused as unknown.

    Source:
        transformers/models/swin/modeling_swin.py.
    """
    for theirs, ours in _EMBEDDED.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    if match := _BLOCK.fullmatch(name):
        return match[1] + _PARTS.sub(lambda part: _IN_BLOCKS[part[1]], match[2], count=1)
    if name.startswith("encoder.layers."):
        return counted_as_entered(name.removeprefix("encoder."))
    return None


HUGGINGFACE = Naming(
    "the Swin of transformers",
    "embeddings.patch_embeddings.projection.weight",
    r"encoder\.layers\.0\.blocks\.0\.attention\..*relative_position_bias_table$",
    ours=_ours,
    in_order=(".query.", ".key.", ".value.", ".q_proj.", ".k_proj.", ".v_proj."),
    unlike=partial(unlike_windows, fits=never_smaller),
)


def _ours_v2(name: str) -> str | None:
    """Rename as `_ours`; queries and values have biases of their own, and keys have none.

    Source:
        transformers/models/swinv2/modeling_swinv2.py.
    """
    ours = _ours(name)
    if ours is None:
        return None
    for part, theirs in {"q": "query|q_proj", "v": "value|v_proj"}.items():
        if ours.endswith(".attn.qkv.bias") and re.search(theirs, name):
            return ours.replace(".qkv.bias", f".{part}_bias")
    return ours.replace(".continuous_position_bias_mlp.", ".cpb_mlp.")


HUGGINGFACE_V2 = replace(
    HUGGINGFACE,
    kind="the Swin V2 of transformers",
    mark=r"encoder\.layers\.0\.blocks\.0\.attention\..*continuous_position_bias_mlp\.",
    ours=_ours_v2,
    is_v2=True,
    unlike=partial(unlike_windows, fits=shrunk),
)
