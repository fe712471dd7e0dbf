"""A ViT as timm has it: which of its models, with what arguments, under which names."""

from collections.abc import Iterator, Mapping
from typing import Any

import timm
from torch import Tensor, nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder
from ssl_swin.models.vit_block import EPS
from ssl_swin.pretrained.vit import renamed_of_timm

_PREFIX = "backbone."
_BEIT, _VIT = "beit_base_patch16_224", "vit_base_patch16_224"
_SCALES = {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}


def is_beit(sizes: Mapping[str, Any]) -> bool:
    """Say whether timm's BEiT has what a ViT of these sizes has, and not its ViT."""
    return sizes["qkv_bias"] == "qv" or sizes["position"] not in ("absolute", "none")


def unlike_timm(sizes: Mapping[str, Any]) -> Iterator[str]:
    """Name what no ViT or BEiT of timm has."""
    if sizes["norm_eps"] != EPS:
        yield f"model.norm_eps={sizes['norm_eps']}"
    if not is_beit(sizes):
        return
    if sizes["qkv_bias"] == "qkv":
        yield f"model.position={sizes['position']} with model.qkv_bias=qkv"
    if not sizes["class_token"]:
        yield f"model.class_token=False with model.qkv_bias={sizes['qkv_bias']}"


def timm_name(sizes: Mapping[str, Any]) -> str:
    """Return the name of timm's model: the encoder's own if it is of the right kind."""
    name, usual = str(sizes["name"]).partition(".")[0], _BEIT if is_beit(sizes) else _VIT
    return name if name.startswith("beit") == is_beit(sizes) and timm.is_model(name) else usual


def timm_arguments(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what timm's model is built with, apart from its classes.

    Its vector is the mean over positions, normed before or after, as here.
    """
    kept = ("img_size", "patch_size", "in_chans", "embed_dim", "fc_norm")
    given = {name: sizes[name] for name in kept}
    (given["depth"],), (given["num_heads"],) = sizes["depths"], sizes["num_heads"]
    given |= {"global_pool": "avg", "qkv_bias": sizes["qkv_bias"] != "none"}
    given["init_values"] = sizes["init_values"]  # 0 and not None, which timm takes for not given
    position = sizes["position"]
    if not is_beit(sizes):
        pos_embed = "learn" if position == "absolute" else "none"
        return given | {"class_token": sizes["class_token"], "pos_embed": pos_embed}
    given["use_fc_norm"] = given.pop("fc_norm")
    return given | {
        "use_abs_pos_emb": position in ("absolute", "both"),
        "use_rel_pos_bias": position in ("relative", "both"),
        "use_shared_rel_pos_bias": position == "relative-shared",
    }


def to_timm_vit(state: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give the weights of our ViTEncoder, without its mask token, the names they have in timm."""
    renamed = {}
    for name, value in state.items():
        if name.startswith(_PREFIX):
            theirs = name.removeprefix(_PREFIX)
            renamed[in_beit(theirs) if is_beit(sizes) else theirs] = value
    return renamed


def in_beit(name: str) -> str:
    """Return the name that a BEiT, and SimMIM's own ViT, have for what a ViT of timm has."""
    for ours, theirs in _SCALES.items():
        name = name.replace(ours, theirs)
    return name


def from_timm_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's weights, without classification head, the names they have in our ViTEncoder."""
    pairs = ((renamed_of_timm(name), value) for name, value in state.items())
    return {_PREFIX + name: value for name, value in pairs if name is not None}


def timm_vit(encoder: Encoder) -> nn.Module:
    """Do what `timm_model` does, of a ViT.

    Raises:
        UserError: If timm has none like it.
    """
    sizes = encoder.architecture()
    if wrong := next(unlike_timm(sizes), None):
        raise UserError(f"timm has no ViT with {wrong}; give another encoder")
    model = timm.create_model(timm_name(sizes), num_classes=0, **timm_arguments(sizes))
    model.load_state_dict(to_timm_vit(encoder.state_dict(), sizes))
    module: Any = encoder
    return model.to(module.mask_token).train(module.training)
