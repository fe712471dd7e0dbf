"""The format "hf": a folder that `from_pretrained` of transformers opens."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_swin.pretrained.export.card import write_json, write_weights
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.misfits import is_v2, scales_of, unlike_a_swin, unlike_scales
from ssl_swin.pretrained.geometry import largest_window
from ssl_swin.pretrained.huggingface import HUGGINGFACE, HUGGINGFACE_V2
from ssl_swin.pretrained.official import counted_as_left

LEFT_OUT = "the mask token, which transformers keeps only beside a decoder of its own"
_BICUBIC = 3  # Pillow's number
_QKV = ("query", "key", "value")
# Ours -> theirs, in names without "backbone."; `qkv` is three of theirs.
_NAMES = {
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "patch_embed.norm.": "embeddings.norm.",
    ".attn.relative_position_bias_table": ".attention.self.relative_position_bias_table",
    ".attn.proj.": ".attention.output.dense.",
    ".attn.logit_scale": ".attention.self.logit_scale",
    ".attn.cpb_mlp.": ".attention.self.continuous_position_bias_mlp.",
    ".attn.q_bias": ".attention.self.query.bias",
    ".attn.v_bias": ".attention.self.value.bias",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}
_WHOLE = {"absolute_pos_embed": "embeddings.position_embeddings"}


def misfit(handed: HandOff) -> str:
    """Return what transformers cannot express, or nothing."""
    sizes = handed.sizes
    naming = HUGGINGFACE_V2 if is_v2(sizes) else HUGGINGFACE
    # Its embedding of version 2 has a place too many, and cannot be added.
    embeds = not is_v2(sizes)
    found = chain(unlike_a_swin(sizes, has_embedding=embeds), naming.unlike(sizes))
    return next(chain(found, unlike_scales(sizes)), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write weights under the names of published models, config and preprocessor."""
    state = to_huggingface(handed.state)
    if handed.classes:
        state = {f"{_type(handed)}.{name}": value for name, value in state.items()}
        state |= {f"classifier.{name}": value for name, value in handed.head.items()}
    write_weights(handed, folder, state)
    write_json(folder / "config.json", _config(handed))
    write_json(folder / "preprocessor_config.json", preprocessor(handed))


def python(handed: HandOff, folder: str) -> str:
    """Return the lines that open it."""
    kind = _class(handed)
    output = "logits" if handed.classes else "pooler_output"
    return "\n".join(
        [
            f"from transformers import AutoImageProcessor, {kind}",
            "",
            f"processor = AutoImageProcessor.from_pretrained({folder!r})",
            f"model = {kind}.from_pretrained({folder!r}).eval()",
            f"# model(**{processed(handed)}).{output}",
        ]
    )


def to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our encoders, without mask token, the names of published models.

    Release 5 of transformers calls some of them otherwise in memory, and reads these. Queries, keys
    and values are a third of our rows each.

    Source:
        transformers, models/swin/modeling_swin.py and conversion_mapping.py, and of version 2
        models/swinv2/modeling_swinv2.py.
    """
    return named_as_theirs(state, _renamed, "attention.self")


def named_as_theirs(
    state: Mapping[str, Tensor], rename: Callable[[str], str], place: str
) -> dict[str, Tensor]:
    """Rename the backbone's weights; queries, keys and values are apart, at a `place` in a block.

    `rename` is given names without "backbone."; weights that are elsewhere are left out.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = name.removeprefix("backbone.")
        if bare == name:
            continue
        if ".attn.qkv." in bare:
            before, _, last = rename(bare).partition(".attn.qkv.")
            names = (f"{before}.{place}.{part}.{last}" for part in _QKV)
            renamed |= zip(names, value.chunk(3), strict=True)
        else:
            renamed[rename(bare)] = value
    return renamed


def _renamed(name: str) -> str:
    """Return a name of theirs; down-sampling is counted to the stage that it leaves."""
    if name in _WHOLE:
        return _WHOLE[name]
    for ours, theirs in _NAMES.items():
        name = name.replace(ours, theirs)
    if name.startswith("layers."):
        return f"encoder.{counted_as_left(name)}"
    return f"layer{name}" if name.startswith("norm.") else name


def _type(handed: HandOff) -> str:
    return "swinv2" if is_v2(handed.sizes) else "swin"


def _class(handed: HandOff) -> str:
    return _type(handed).capitalize() + ("ForImageClassification" if handed.classes else "Model")


def _config(handed: HandOff) -> dict[str, Any]:
    sizes, (rows, cols) = handed.sizes, handed.network.img_size
    scales = {"pretrained_window_sizes": scales_of(sizes)} if is_v2(sizes) else {}
    return {
        "model_type": _type(handed),
        "architectures": [_class(handed)],
        "image_size": rows if rows == cols else [rows, cols],
        "patch_size": sizes["patch_size"],
        "num_channels": sizes["in_chans"],
        "embed_dim": sizes["embed_dim"],
        "depths": list(sizes["depths"]),
        "num_heads": list(sizes["num_heads"]),
        "window_size": largest_window(sizes)[0],
        **scales,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "drop_path_rate": 0.0,
        "use_absolute_embeddings": sizes.get("position") == "both",
        "encoder_stride": sizes["patch_size"] * 2 ** (len(sizes["depths"]) - 1),
        **dict(labels(handed)),
    }


def labels(handed: HandOff) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the two settings that name classes; none of an encoder."""
    if handed.classes:
        yield "id2label", {str(number): name for number, name in enumerate(handed.classes)}
        yield "label2id", {name: number for number, name in enumerate(handed.classes)}


def processed(handed: HandOff) -> str:
    """Return the call that makes images ready; arrays of many channels it cannot tell itself."""
    many = handed.network.in_chans not in (1, 3)
    last = ", input_data_format='channels_last'" if many else ""
    return f"processor(images, return_tensors='pt'{last})"


def preprocessor(handed: HandOff) -> dict[str, Any]:
    """Return settings of the processor that resizes the short side and cuts out the centre."""
    network, (rows, cols) = handed.network, handed.network.img_size
    square = handed.resized_px is not None
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": handed.resized_px} if square else {"height": rows, "width": cols},
        "resample": _BICUBIC,
        "do_center_crop": square,
        "crop_size": {"height": rows, "width": cols},
        "do_rescale": network.card.dtype is None,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(network.card.mean),
        "image_std": list(network.card.std),
        "do_convert_rgb": network.in_chans == 3,
    }
