"""Names of torchvision: `torchvision.models.swin_t`, `swin_s` and `swin_b`."""

import re

from ssl_swin.pretrained.found import Naming

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
    _ours,
)
