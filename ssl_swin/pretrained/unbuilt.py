"""Names of networks that are recognised, and for which there is no encoder here yet.

An encoder for one of them makes its line here a `Naming` with a function `ours`.
"""

from ssl_swin.pretrained.found import Naming

UNBUILT: dict[str, Naming] = {
    "swin v2 cr": Naming(
        "a Swin of version 2 as timm's swinv2_cr, which has other attention than the published one",
        "patch_embed.proj.weight",
        r"stages\.0\.blocks\.0\.attn\.meta_mlp\.",
    ),
}
"""Whose it is -> how such a network is recognised."""
