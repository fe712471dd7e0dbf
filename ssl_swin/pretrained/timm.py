"""Names of timm: weights of timm's Swin, from it and for it."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, build_encoder
from ssl_swin.pretrained.card import Weights
from ssl_swin.pretrained.found import MASK_TOKEN, Naming
from ssl_swin.pretrained.mismatch import PretrainedMismatch, shape_of
from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.timm_vit import from_timm_vit, timm_vit
from ssl_swin.pretrained.vit_sizes import is_vit

_PREFIX = "backbone."
_PATCHES = "backbone.patch_embed.proj.weight"
_BLOCK = re.compile(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.")
_TABLE = "backbone.layers.{}.blocks.0.attn.relative_position_bias_table"
_NAMES = {128: "swin_base_patch4_window7_224", 192: "swin_large_patch4_window7_224"}  # by width
PLACES = "backbone.absolute_pos_embed"
NOTHING: Mapping[str, Any] = MappingProxyType({})
LARGEST = 1024  # tokens a side of an image: more than anybody's, and still cheap to build
LARGEST_WINDOW = 64  # tokens a side; what is built of a window grows with the fourth power
_BODY = ("patch_embed", "absolute_pos_embed", "layers", "norm")


def body(name: str) -> str | None:
    """Return a name of an encoder's part; None of anything else, such as the head."""
    return name if name == MASK_TOKEN or name.split(".")[0] in _BODY else None


TIMM = Naming(
    "timm's Swin",
    "patch_embed.proj.weight",
    r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table$",
    ours=body,
)


def in_version_2(name: str | None) -> str | None:
    """Return a name of Swin V2 as it is today: networks of the bias were called otherwise once."""
    return None if name is None else name.replace(".attn.rpe_mlp.", ".attn.cpb_mlp.")


TIMM_V2 = replace(
    TIMM,
    kind="timm's Swin V2",
    mark=r"layers\.0\.blocks\.0\.attn\.(?:cpb|rpe)_mlp\.",
    ours=lambda name: in_version_2(body(name)),
    is_v2=True,
)


def sizes_of_model(name: str) -> Weights:
    """Return what timm says of one of its models that is in `ENCODERS`, and no weights.

    The name may have a tag of weights, which have their mean and deviation, and their image size.
    """
    known: Any = timm.get_pretrained_cfg(name)
    in_chans, rows, cols = known.input_size
    with torch.device("meta"):  # only what the name says of sizes is wanted
        sizes = build_encoder(name, (rows, cols), in_chans).architecture()
    mean, std = (tuple(map(float, one)) for one in (known.mean, known.std))
    report = Report(f"timm's {known.architecture}.{known.tag}".removesuffix("."))
    return Weights({}, sizes, mean, std, report=report)


def weights_of_model(model: nn.Module, name: str, file: Path | None = None) -> Weights:
    """Do the same with the weights that are in a model of that name, be they timm's or a file's."""
    found = sizes_of_model(name)
    renamed = from_timm_vit if is_vit(found.architecture) else from_timm
    state = renamed(model.state_dict())
    kind = found.report.kind if file is None else f"timm's {name}, weights of {file}"
    return found._replace(state=state, report=Report(kind, loaded=tuple(state)))


def timm_model(encoder: Encoder) -> nn.Module:
    """Return a model of timm, without head, with a copy of the weights and in the same mode.

    It has no mask token. Called on normalised images it gives (batch, num_features), the mean over
    positions.

    Raises:
        UserError: If the encoder is none of timm's.
    """
    sizes = encoder.architecture()
    if is_vit(sizes):
        return timm_vit(encoder)
    if not timm.is_model(sizes["name"]):
        raise UserError(
            f"{sizes['name']} is no model of timm, which only takes those of timm.list_models()"
        )
    theirs: Any = build_encoder(**sizes, implementation="timm")  # refuses what timm has not
    theirs.load_state_dict(encoder.state_dict())
    backbone: nn.Module = theirs.backbone
    module: Any = encoder
    return backbone.to(module.mask_token).train(module.training)


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our SwinEncoder, without its mask token, the names they have in timm.

    They load strictly into ``timm.create_model(name, num_classes=0, ...)`` of its architecture.
    """
    return {
        key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)
    }


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights, without classification head, the names they have in our SwinEncoder."""
    return {in_ours(key): value for key, value in state.items() if not key.startswith("head.")}


def in_ours(name: str) -> str:
    """Return the name in our SwinEncoder of what timm's Swin has, or of the mask token."""
    return name if name == MASK_TOKEN else _PREFIX + name


def swin_weights(
    state: dict[str, Tensor], report: Report, architecture: dict[str, Any] | None = None
) -> Weights:
    """Describe weights of a Swin that have no card, under our names.

    Those for three channels were trained on ImageNet. The architecture is that of a Swin, version
    1, unless it is known.

    Raises:
        PretrainedMismatch: If it is not known, and they are not those of a Swin.
    """
    sizes = architecture or sizes_of(state)
    found = Weights(state, sizes, report=report, is_guessed=architecture is None)
    if sizes["in_chans"] != 3:
        return found
    return found._replace(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)


def sizes_of(state: Mapping[str, Tensor], said: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Read the arguments of `build_encoder` from a Swin's weights, under our names.

    Windows are square. No weight depends on the image size but an embedding of places: without one
    the last stage is taken to be one window, as in all published Swins. The name is one of timm's;
    all that it stands for is given.

    Raises:
        PretrainedMismatch: If the weights are not those of a Swin of images.
    """
    sizes = plain_sizes(state)
    num = len(sizes["depths"])
    tables = [shape_of(state, _TABLE.format(stage), 2) for stage in range(num)]
    windows = [(math.isqrt(num_rows) + 1) // 2 for num_rows, _ in tables]
    return {
        "name": _NAMES.get(sizes["embed_dim"], "swin_tiny_patch4_window7_224"),
        **sizes,
        **sizes_by_windows(windows, sizes["patch_size"]),
        "num_heads": tuple(heads for _, heads in tables),
        **sizes_by_places(state, sizes["patch_size"], said),
    }


def sizes_by_places(
    state: Mapping[str, Tensor], patch_size: int, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of `build_encoder` that follow from an embedding of absolute places.

    It is taken to be of a square image, unless `said` has its `img_size`; nothing if there is none.

    Raises:
        PretrainedMismatch: If no image has so many places, or not that one.
    """
    if PLACES not in state:
        return {}
    num = shape_of(state, PLACES, 3)[1]
    rows, cols = said.get("img_size") or (math.isqrt(num) * patch_size,) * 2
    if (rows // patch_size) * (cols // patch_size) != num or num > LARGEST**2:
        raise PretrainedMismatch(
            f"an embedding of {num} tokens is of no image of {rows} x {cols} pixels; keep the "
            "config.json of its library beside model.safetensors, or give another file"
        )
    return {"img_size": (rows, cols), "position": "both"}


def plain_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the arguments of `build_encoder` that any Swin's weights tell alike.

    Raises:
        PretrainedMismatch: If the weights are not those of a Swin of images.
    """
    embed_dim, in_chans, patch_size, _ = shape_of(state, _PATCHES, 4)
    blocks = {(int(match[1]), int(match[2])) for match in filter(None, map(_BLOCK.match, state))}
    depths = tuple(sum(stage == one for stage, _ in blocks) for one in range(_num(blocks)))
    if blocks != {(stage, block) for stage, depth in enumerate(depths) for block in range(depth)}:
        raise PretrainedMismatch(
            f"stages and blocks are not numbered from 0 without a gap: {sorted(blocks)[:9]}; fetch "
            "the file again, or save the whole state_dict()"
        )
    return {
        "patch_size": patch_size,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": depths,
    }


def sizes_by_windows(windows: Sequence[int], patch_size: int) -> dict[str, Any]:
    """Return the arguments of `build_encoder` that follow from the side of each stage's window.

    Raises:
        PretrainedMismatch: If no Swin has such windows.
    """
    sides = [windows[-1] * 2**later for later in reversed(range(len(windows)))]  # in tokens
    if sides[0] > LARGEST:
        raise PretrainedMismatch(
            f"windows of {windows} tokens in {len(windows)} stages make an image of {sides[0]} x "
            f"{sides[0]} tokens, more than {LARGEST} a side: that is no Swin; give another file"
        )
    if max(windows) > LARGEST_WINDOW:
        raise PretrainedMismatch(
            f"it has windows of {max(windows)} tokens a side, and those of files without a card "
            f"have at most {LARGEST_WINDOW} here; give another file"
        )
    shrunk = [min(max(windows), side) for side in sides]  # a window is never larger than its stage
    return {
        "img_size": patch_size * sides[0],
        "window_size": max(windows) if [*windows] == shrunk else tuple(windows),
    }


def _num(blocks: Collection[tuple[int, int]]) -> int:
    """Return how many stages there are at most: no stage is without a block."""
    return min(len(blocks), 1 + max((stage for stage, _ in blocks), default=-1))
