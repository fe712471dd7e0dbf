"""Names of mmpretrain: the Swins of OpenMMLab's mmpretrain, mmdetection and mmsegmentation."""

import re
from dataclasses import replace
from functools import partial

from torch import Tensor

from ssl_swin.pretrained.found import MASK_TOKEN, Naming
from ssl_swin.pretrained.geometry import never_smaller, unlike_windows
from ssl_swin.pretrained.official import counted_as_entered

_PARTS = {
    ".attn.w_msa.": ".attn.",
    ".ffn.layers.0.0.": ".mlp.fc1.",
    ".ffn.layers.1.": ".mlp.fc2.",
}
_LAST_NORM = re.compile(r"norm3\.|norm\.")  # of four stages; below 1.0 it was called norm


def _ours(name: str) -> str | None:
    """Rename; norms of other stages than the last are of no use here.

    Source:
        mmpretrain/models/backbones/swin_transformer.py, ``SwinTransformer``.
    """
    if name.startswith("patch_embed."):
        return name.replace("patch_embed.projection.", "patch_embed.proj.")
    if name.startswith("stages."):
        return counted_as_entered(_in_stages(name))
    if _LAST_NORM.match(name):
        return _LAST_NORM.sub("norm.", name, count=1)
    return name if name in (MASK_TOKEN, "absolute_pos_embed") else None


def _ours_v2(name: str) -> str | None:
    """Rename as `_ours`; down-sampling is counted to the stage that it enters, as in timm.

    Source:
        mmpretrain/models/backbones/swin_transformer_v2.py, ``SwinTransformerV2``.
    """
    return _in_stages(name) if name.startswith("stages.") else _ours(name)


def _in_stages(name: str) -> str:
    for theirs, ours in _PARTS.items():
        name = name.replace(theirs, ours)
    return name.replace("stages.", "layers.", 1)


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Put the channels that down-sampling takes from 2 x 2 places into timm's order.

    There they come from ``nn.Unfold``: channel, row, column. In timm: column, row, channel.
    """
    if ".downsample." not in name:
        return tensor
    places = tensor.unflatten(-1, (-1, 2, 2))  # (..., channel, row, column)
    return places.transpose(-3, -1).flatten(-3)  # (..., column, row, channel)


MMPRETRAIN = Naming(
    "mmpretrain's Swin",
    "patch_embed.projection.weight",
    r"stages\.0\.blocks\.0\.attn\.w_msa\.relative_position_bias_table$",
    ours=_ours,
    turned=_turned,
    unlike=partial(unlike_windows, fits=never_smaller),
)

MMPRETRAIN_V2 = replace(
    MMPRETRAIN,
    kind="mmpretrain's Swin V2",
    mark=r"stages\.0\.blocks\.0\.attn\.w_msa\.cpb_mlp\.",
    ours=_ours_v2,
    # There the norm comes after channels are fewer.
    turned=lambda name, tensor: tensor if ".norm." in name else _turned(name, tensor),
    is_v2=True,
)
