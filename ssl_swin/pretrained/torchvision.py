"""Names of torchvision: `torchvision.models.swin_t`, `swin_s` and `swin_b`, and `swin_v2_t` on."""

import re
from dataclasses import replace
from functools import partial

from torch import Tensor

from ssl_swin.pretrained.found import Naming
from ssl_swin.pretrained.geometry import of_one_size, unlike_windows

_FEATURE = re.compile(r"features\.(\d+)\.(.+)")
_PARTS = {"mlp.0.": "mlp.fc1.", "mlp.3.": "mlp.fc2."}


def _ours(name: str) -> str | None:
    """Rename: there, patches, the blocks of a stage, and down-sampling take turns in one list.

    Source:
        torchvision/models/swin_transformer.py, ``SwinTransformer``.
    """
    if (match := _FEATURE.fullmatch(name)) is None:
        return name if name.startswith("norm.") else None
    number, rest = int(match[1]), match[2]
    for theirs, ours in _PARTS.items():
        rest = rest.replace(f".{theirs}", f".{ours}")
    if number == 0:
        return "patch_embed." + {"0": "proj", "2": "norm"}.get(rest[0], rest[0]) + rest[1:]
    stage, is_blocks = divmod(number, 2)
    return f"layers.{stage}.{'blocks' if is_blocks else 'downsample'}.{rest}"


TORCHVISION = Naming(
    "torchvision's Swin",
    "features.0.0.weight",
    r"features\.1\.0\.attn\.relative_position_bias_table$",
    ours=_ours,
    unlike=partial(unlike_windows, fits=of_one_size),
)


def _ours_v2(name: str) -> str | tuple[str, ...] | None:
    """Rename as `_ours`; one tensor has the biases of queries, keys and values."""
    ours = _ours(name)
    before, found, _ = (ours or "").partition(".attn.qkv.bias")
    return (f"{before}.attn.q_bias", f"{before}.attn.v_bias") if found else ours


def _cut(name: str, tensor: Tensor) -> Tensor:
    """Return the first third of a bias for queries, the last for values; keys' is not used there.

    Source:
        torchvision/models/swin_transformer.py, ``shifted_window_attention``.
    """
    third = len(tensor) // 3
    if name.endswith(".q_bias"):
        return tensor[:third].clone()
    return tensor[2 * third :].clone() if name.endswith(".v_bias") else tensor


TORCHVISION_V2 = replace(
    TORCHVISION,
    kind="torchvision's Swin V2",
    mark=r"features\.1\.0\.attn\.cpb_mlp\.",
    ours=_ours_v2,
    turned=_cut,
    is_v2=True,
)
