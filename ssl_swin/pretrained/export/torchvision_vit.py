"""The format "torchvision" of a ViT: a state dict of its VisionTransformer, and its settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ssl_swin.models.vit_block import EPS
from ssl_swin.pretrained.export.handoff import HandOff
from ssl_swin.pretrained.export.torchvision import opening, write_state

_NAMES = {
    "patch_embed.proj.": "conv_proj.",
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "blocks.": "encoder.layers.encoder_layer_",
    ".norm1.": ".ln_1.",
    ".norm2.": ".ln_2.",
    ".attn.qkv.": ".self_attention.in_proj_",
    ".attn.proj.": ".self_attention.out_proj.",
    ".mlp.fc1.": ".mlp.0.",
    ".mlp.fc2.": ".mlp.3.",
}


def misfit(handed: HandOff) -> str:
    """Return what torchvision cannot express, or nothing."""
    return next(_misfits(handed), "")


def write(handed: HandOff, folder: Path) -> None:
    """Write what `load_state_dict` takes strictly, and settings of model and images as JSON."""
    sizes = handed.sizes
    model = {
        "image_size": sizes["img_size"][0],
        "patch_size": sizes["patch_size"],
        "num_layers": sizes["depths"][0],
        "num_heads": sizes["num_heads"][0],
        "hidden_dim": sizes["embed_dim"],
        "mlp_dim": 4 * sizes["embed_dim"],
    }
    write_state(handed, folder, to_torchvision_vit(handed.state), model)


def python(_: HandOff, folder: str) -> str:
    """Return the lines that open it; features are the mean over all but the class token."""
    made = [
        "model = VisionTransformer(**settings['model']).eval()",
        "model.heads = torch.nn.Identity()",
    ]
    lines = [
        "",
        "class Features(torch.nn.Module):",
        "    def __init__(self, vit):",
        "        super().__init__()",
        "        self.vit = vit",
        "    def forward(self, images):",
        "        patches = self.vit._process_input(images)",
        "        first = self.vit.class_token.expand(len(images), -1, -1)",
        "        return self.vit.encoder(torch.cat((first, patches), 1))[:, 1:].mean(1)",
        "",
        "features = Features(model)",
    ]
    return "\n".join([opening(folder, "vision_transformer import VisionTransformer", made), *lines])


def to_torchvision_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of our ViTEncoder, without its mask token, the names of torchvision.

    Source:
        torchvision, models/vision_transformer.py.
    """
    renamed = {}
    for name, value in state.items():
        bare = name.removeprefix("backbone.")
        if bare == name:
            continue
        bare = f"encoder.ln.{bare[5:]}" if bare.startswith("norm.") else bare
        for ours, theirs in _NAMES.items():
            bare = bare.replace(ours, theirs)
        renamed[bare] = value
    return renamed


def _misfits(handed: HandOff) -> Iterator[str]:
    sizes, (rows, cols) = handed.sizes, handed.network.img_size
    usual = {"position": "absolute", "class_token": True, "qkv_bias": "qkv"}
    usual |= {"init_values": 0, "fc_norm": False, "norm_eps": EPS}
    for name, value in usual.items():
        if sizes[name] != value:
            yield f"model.{name}={sizes[name]}"
    if handed.classes:
        yield "a head on the mean over positions, for its own is on the class token"
    if rows != cols:
        yield f"model.img_size={rows} x {cols}, no square"
    if sizes["in_chans"] != 3:
        yield f"images of {sizes['in_chans']} channels, as data.mean has them"
