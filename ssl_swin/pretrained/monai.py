"""Names of MONAI: the encoder of a Swin UNETR for images, where it norms its patches."""

import re
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from ssl_swin.pretrained.found import Naming
from ssl_swin.pretrained.geometry import any_window, unlike_windows
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.official import counted_as_entered

_STAGE = re.compile(r"layers([1-4])\.0\.")
_PARTS = {".mlp.linear1.": ".mlp.fc1.", ".mlp.linear2.": ".mlp.fc2."}


def _ours(name: str) -> str | None:
    """Rename; down-sampling after the last stage is of no use here.

    Source:
        MONAI, monai/networks/nets/swin_unetr.py, ``SwinTransformer``.
    """
    if name.startswith("patch_embed."):
        return name
    if (match := _STAGE.match(name)) is None or name.startswith("layers4.0.downsample."):
        return None
    for theirs, ours in _PARTS.items():
        name = name.replace(theirs, ours)
    return counted_as_entered(_STAGE.sub(f"layers.{int(match[1]) - 1}.", name, count=1))


def _added(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the last norm: there it has no weights, which is 1 and 0.

    Raises:
        PretrainedMismatch: If patches have no norm.
    """
    if "patch_embed.norm.weight" not in state:
        raise PretrainedMismatch(
            "it has no norm after its patches, which all encoders here have: give weights of one "
            "that was built with patch_norm=True"
        )
    last = max(name for name in state if re.match(r"layers\.\d\.blocks\.0\.norm1\.weight", name))
    return {
        "norm.weight": torch.ones_like(state[last]),
        "norm.bias": torch.zeros_like(state[last]),
    }


MONAI = Naming(
    "MONAI's Swin",
    "patch_embed.proj.weight",
    r"layers1\.0\.blocks\.0\.attn\.relative_position_bias_table$",
    _ours,
    added=_added,
    remark="norm.weight is 1 and norm.bias 0, as MONAI norms without weights",
    unlike=partial(unlike_windows, fits=any_window),
)
