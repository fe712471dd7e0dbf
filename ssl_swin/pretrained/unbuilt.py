"""Names of networks that are recognised, and for which there is no encoder here yet.

An encoder for one of them makes its line here a `Naming` with a function `ours`.
"""

from ssl_swin.pretrained.found import Naming

_PATCHES, _THEIRS = "patch_embed.proj.weight", "patch_embed.projection.weight"
_EMBEDDINGS = "embeddings.patch_embeddings.projection.weight"

UNBUILT: dict[str, Naming] = {
    "swin v2 cr": Naming(
        "a Swin of version 2 as timm's swinv2_cr, which has other attention than the published one",
        _PATCHES,
        r"stages\.0\.blocks\.0\.attn\.meta_mlp\.",
    ),
    "vit": Naming("a ViT, as in timm and SimMIM's official code", _PATCHES, r"blocks\.0\.attn\."),
    "huggingface vit": Naming(
        "a ViT of transformers", _EMBEDDINGS, r"(?:encoder\.layer|layers)\.0\.attention\."
    ),
    "torchvision vit": Naming(
        "torchvision's ViT", "conv_proj.weight", r"encoder\.layers\.encoder_layer_0\."
    ),
    "mmpretrain vit": Naming("mmpretrain's ViT", _THEIRS, r"layers\.0\.attn\."),
}
"""Whose it is -> how such a network is recognised."""
