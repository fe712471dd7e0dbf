"""The format "official" of a ViT: a checkpoint of the SimMIM code, and its config."""

from collections.abc import Iterator
from pathlib import Path

from ssl_swin.models.vit_block import EPS
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.official import CHECKPOINT, CONFIG, write_checkpoint
from ssl_swin.pretrained.timm_vit import in_beit


def misfit(handed: HandOff) -> str:
    """Return what the official code cannot express, or nothing."""
    return next(_misfits(handed), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write ``{"model": tensors}`` by torch.save, and the settings as its YAML has them."""
    sizes, position = handed.sizes, handed.sizes["position"]
    vit = {
        "PATCH_SIZE": sizes["patch_size"],
        "IN_CHANS": sizes["in_chans"],
        "EMBED_DIM": sizes["embed_dim"],
        "DEPTH": sizes["depths"][0],
        "NUM_HEADS": sizes["num_heads"][0],
        "MLP_RATIO": 4,
        "QKV_BIAS": sizes["qkv_bias"] == "qv",
        "INIT_VALUES": sizes["init_values"] or None,
        "USE_APE": position in ("absolute", "both"),
        "USE_RPB": position in ("relative", "both"),
        "USE_SHARED_RPB": position == "relative-shared",
        "USE_MEAN_POOLING": sizes["fc_norm"],
    }
    state = {in_beit(name.removeprefix("backbone.")): one for name, one in handed.state.items()}
    write_checkpoint(handed, folder, state, {"TYPE": "vit", "VIT": vit})


def python(_: HandOff, folder: str) -> str:
    """Return the lines that open it, in a checkout of the official code."""
    lines = [
        "import torch",
        "from config import _C as config  # in a checkout of the SimMIM code",
        "from models.vision_transformer import build_vit",
        "",
        f"config.merge_from_file({f'{folder}/{CONFIG}'!r})",
        "model = build_vit(config).eval()",
        f"state = torch.load({f'{folder}/{CHECKPOINT}'!r}, weights_only=True)['model']",
        "model.load_state_dict(state, strict=False)",
    ]
    return "\n".join(lines)


def _misfits(handed: HandOff) -> Iterator[str]:
    sizes, (rows, cols) = handed.sizes, handed.network.img_size
    if not sizes["class_token"]:
        yield "model.class_token=False"
    if sizes["qkv_bias"] == "qkv":
        yield "model.qkv_bias=qkv"
    if sizes["norm_eps"] != EPS:
        yield f"model.norm_eps={sizes['norm_eps']}"
    if handed.classes and not sizes["fc_norm"]:
        yield "model.fc_norm=False of a classifier: its heads are on the class token, or a fc_norm"
    if rows != cols:
        yield f"model.img_size={rows} x {cols}, no square"
