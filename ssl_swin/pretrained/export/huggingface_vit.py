"""The format "hf" of a ViT: a ViT of transformers, or, where that lacks something, its BEiT."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin.pretrained.export.card import write_json, write_weights
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.huggingface import labels, named_as_theirs, preprocessor, processed
from ssl_swin.pretrained.geometry import unlike_squares

# Ours -> theirs, in names without "backbone."; `qkv` is three of theirs.
_NAMES = {
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    ".attn.relative_position_bias_table": (
        ".attention.attention.relative_position_bias.relative_position_bias_table"
    ),
    ".attn.q_bias": ".attention.attention.query.bias",
    ".attn.v_bias": ".attention.attention.value.bias",
    ".attn.proj.": ".attention.output.dense.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
    ".ls1.gamma": ".lambda_1",
    ".ls2.gamma": ".lambda_2",
}
_STARTS = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "rel_pos_bias.": "encoder.relative_position_bias.",
    "blocks.": "encoder.layer.",
    "norm.": "layernorm.",
    "fc_norm.": "pooler.layernorm.",
}


def misfit(handed: HandOff) -> str:
    """Return what transformers cannot express, or nothing."""
    return next(_misfits(handed), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write weights under the names of published models, config and preprocessor."""
    state = to_huggingface_vit(handed.state)
    if handed.classes:
        state = {f"beit.{name}": value for name, value in state.items()}
        state |= {f"classifier.{name}": value for name, value in handed.head.items()}
    write_weights(handed, folder, state)
    write_json(folder / "config.json", _config(handed))
    write_json(folder / "preprocessor_config.json", preprocessor(handed))


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    kind, made = _kind(handed), "last_hidden_state[:, 1:].mean(1)"
    if handed.sizes["fc_norm"]:
        made = "logits" if handed.classes else "pooler_output"
    alone = "" if handed.classes or handed.sizes["fc_norm"] else ", add_pooling_layer=False"
    return "\n".join(
        [
            f"from transformers import AutoImageProcessor, {kind}",
            "",
            f"processor = AutoImageProcessor.from_pretrained({folder!r})",
            f"model = {kind}.from_pretrained({folder!r}{alone}).eval()",
            f"# model(**{processed(handed)}).{made}",
        ]
    )


def to_huggingface_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our ViTEncoder, without its mask token, the names of published models.

    Source:
        transformers, models/vit/modeling_vit.py, models/beit/modeling_beit.py, and
        conversion_mapping.py.
    """
    return named_as_theirs(state, _renamed, "attention.attention")


def _renamed(name: str) -> str:
    for ours, theirs in _NAMES.items():
        name = name.replace(ours, theirs)
    for ours, theirs in _STARTS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _is_beit(sizes: Mapping[str, Any]) -> bool:
    return sizes["qkv_bias"] != "qkv"


def _kind(handed: HandOff) -> str:
    """Return the class; its ViT makes a head's vector of the class token, so that has none here."""
    if not _is_beit(handed.sizes):
        return "ViTModel"
    return "BeitForImageClassification" if handed.classes else "BeitModel"


def _misfits(handed: HandOff) -> Iterator[str]:
    sizes = handed.sizes
    if not sizes["class_token"]:
        yield "model.class_token=False"
    if sizes["qkv_bias"] == "none":
        yield "model.qkv_bias=none"
    yield from unlike_squares(sizes)
    if handed.classes and not sizes["fc_norm"]:
        yield "model.fc_norm=False of a classifier: its heads are on the class token, or a fc_norm"
    if not _is_beit(sizes):
        if sizes["position"] != "absolute":
            yield f"model.position={sizes['position']} with model.qkv_bias=qkv"
        for name in ("init_values", "fc_norm"):
            if sizes[name]:
                yield f"model.{name}={sizes[name]} with model.qkv_bias=qkv"


def _config(handed: HandOff) -> dict[str, Any]:
    sizes, (rows, cols) = handed.sizes, handed.network.img_size
    position, scale = sizes["position"], sizes["init_values"]
    config = {
        "model_type": "beit" if _is_beit(sizes) else "vit",
        "architectures": [_kind(handed)],
        "image_size": rows if rows == cols else [rows, cols],
        "patch_size": sizes["patch_size"],
        "num_channels": sizes["in_chans"],
        "hidden_size": sizes["embed_dim"],
        "num_hidden_layers": sizes["depths"][0],
        "num_attention_heads": sizes["num_heads"][0],
        "intermediate_size": 4 * sizes["embed_dim"],
        "hidden_act": "gelu",
        "layer_norm_eps": sizes["norm_eps"],
        **dict(labels(handed)),
    }
    if not _is_beit(sizes):
        return config | {"qkv_bias": True, "encoder_stride": sizes["patch_size"]}
    return config | {
        "drop_path_rate": 0.0,
        "layer_scale_init_value": scale,
        "use_mean_pooling": sizes["fc_norm"],
        "use_absolute_position_embeddings": position in ("absolute", "both"),
        "use_relative_position_bias": position in ("relative", "both"),
        "use_shared_relative_position_bias": position == "relative-shared",
    }
