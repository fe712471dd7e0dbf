"""A small Swin V2 as if trained, and its weights as libraries would have them."""

import torch
import transformers
from torchvision.models import swin_transformer

from ssl_swin.models.swin_v2 import SwinV2Encoder
from ssl_swin.pretrained.official import to_official
from ssl_swin.pretrained.swin_v2 import coordinates

NAME = "swinv2_tiny_window8_256"
SIZES = {"img_size": 64, "window_size": 8, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def shaken(module, seed=0):
    """Give a network weights that all matter; many start at zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module.eval()


def v2(**change):
    return shaken(SwinV2Encoder(NAME, **(SIZES | change)))


def buffers(encoder):
    """The buffers of the published code: where each block keeps its coordinates."""
    found = {}
    for i, stage in enumerate(encoder.backbone.layers):
        for j, block in enumerate(stage.blocks):
            rows, cols = window = block.attn.window_size
            table = coordinates(window, encoder.pretrained_window_sizes[i])
            found[f"layers.{i}.blocks.{j}.attn.relative_coords_table"] = table
            index = torch.zeros(rows * cols, rows * cols, dtype=torch.long)
            found[f"layers.{i}.blocks.{j}.attn.relative_position_index"] = index
    return found


def official(encoder, network="cpb_mlp"):
    """What the Swin code saves of a SimMIM on it: with buffers, decoder and configuration."""
    state = to_official(encoder.state_dict()) | buffers(encoder)
    state = {f"encoder.{name}".replace("cpb_mlp", network): one for name, one in state.items()}
    decoder = {"decoder.0.weight": torch.zeros(4), "decoder.0.bias": torch.zeros(4)}
    return {"model": state | decoder, "epoch": 799}


def torchvisions(num_classes=5):
    torch.manual_seed(0)
    made = swin_transformer.SwinTransformer(
        [4, 4],
        16,
        [2, 1, 2],
        [1, 2, 4],
        [4, 4],
        num_classes=num_classes,
        block=swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    )
    return shaken(made)


def transformer(kind, **change):
    sizes = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "window_size": 8}
    layers = {"depths": [2, 2], "num_heads": [2, 4], "encoder_stride": 8}
    config = transformers.Swinv2Config(**(sizes | layers | change))
    return shaken(getattr(transformers, kind)(config))
