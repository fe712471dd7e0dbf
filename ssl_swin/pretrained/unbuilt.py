"""Names of networks that are recognised, and for which there is no encoder here yet.

An encoder for one of them makes its line here a `Naming` with a function `ours`.
"""

from ssl_swin.pretrained.found import Naming

_V2 = "a Swin of version 2"
_PATCHES, _THEIRS = "patch_embed.proj.weight", "patch_embed.projection.weight"
_EMBEDDINGS = "embeddings.patch_embeddings.projection.weight"

UNBUILT: dict[str, Naming] = {
    "swin v2": Naming(
        f"{_V2}, as in its official code, timm and pytorch-caney",
        _PATCHES,
        r"layers\.0\.blocks\.0\.attn\.(?:cpb|rpe)_mlp\.",
    ),
    "swin v2 cr": Naming(f"{_V2} (timm's cr)", _PATCHES, r"stages\.0\.blocks\.0\.attn\.meta_mlp\."),
    "torchvision v2": Naming(
        f"{_V2} of torchvision, as Satlas has",
        "features.0.0.weight",
        r"features\.1\.0\.attn\.cpb_mlp\.",
    ),
    "huggingface v2": Naming(
        f"{_V2} of transformers",
        _EMBEDDINGS,
        r"encoder\.layers\.0\.blocks\.0\.attention\..*continuous_position_bias_mlp\.",
    ),
    "mmpretrain v2": Naming(
        f"{_V2} of mmpretrain", _THEIRS, r"stages\.0\.blocks\.0\.attn\.w_msa\.cpb_mlp\."
    ),
}
"""Whose it is -> how such a network is recognised."""
