"""Small ViTs that look like published ones: heads of 64 channels, square images."""

import torch

from ssl_swin.models.vit import ViTEncoder
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from tests.pretrained.runs import MEAN, STD

SIZES = {"patch_size": 16, "embed_dim": 128, "depths": (2,), "num_heads": (2,), "img_size": 64}
PRETRAINED = {"position": "relative-shared", "qkv_bias": "qv", "init_values": 0.1}
TUNED = PRETRAINED | {"position": "relative", "fc_norm": True}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def vit(**changes):
    """Build one whose weights are all other than at the start, for no name to hide behind."""
    torch.manual_seed(0)
    return moved(ViTEncoder("vit_base_patch16_224", **(SIZES | changes)).eval())


@torch.no_grad()
def moved(model):
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def written(encoder, path):
    """Write an encoder with its card, and return where."""
    num = encoder.in_chans
    write_encoder(path, encoder.state_dict(), EncoderCard.of(encoder, MEAN[:num], STD[:num]))
    return path
