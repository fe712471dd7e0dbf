"""The frozen numbers of the official code, and the models they belong to (see README.md here)."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssl_swin.models.losses import masked_mean
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.found import find
from ssl_swin.pretrained.official import OFFICIAL, from_official
from ssl_swin.pretrained.open import load_into
from ssl_swin.pretrained.tensors import read_tensors

FOLDER = Path(__file__).parent


def our_name(official):
    name = re.sub(
        r"layers\.(\d+)\.downsample",
        lambda match: f"layers.{int(match[1]) + 1}.downsample",
        official,
    )
    if name.startswith("decoder.0."):
        return name.replace("decoder.0.", "decoder.conv.")
    if name.startswith("head.") or name == "encoder.mask_token":
        return name
    return "encoder.backbone." + name.removeprefix("encoder.")


@pytest.fixture(scope="session")
def to_our_name():
    return our_name


@pytest.fixture(scope="session")
def expected():
    return json.loads((FOLDER / "expected.json").read_text())


@pytest.fixture(scope="session")
def inputs():
    tensors = safetensors.torch.load_file(FOLDER / "inputs.safetensors")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for which in ("pretrain", "finetune"):
        images = tensors.pop(f"{which}_images_u8").float()
        tensors[f"{which}_images"] = (images / 255 - mean) / std
    tensors["pretrain_mask"] = tensors["pretrain_mask"].bool()
    return tensors


@pytest.fixture(scope="session")
def official_path():
    return FOLDER / "ckpt_epoch_99.pth"


@pytest.fixture(scope="session")
def official_weights(official_path):
    named = read_tensors(official_path)
    return {name.removeprefix("model."): tensor for name, tensor in named.items()}


@pytest.fixture
def golden_encoder():
    def build(img_size, window_size, implementation=None):
        return SwinEncoder(
            "swin_tiny_patch4_window7_224",
            img_size=img_size,
            window_size=window_size,
            embed_dim=16,
            depths=(2, 2, 2, 2),
            num_heads=(1, 2, 4, 8),
            implementation=implementation,
        )

    return build


@pytest.fixture
def pretrain_model_of(golden_encoder, official_weights):
    def build(implementation):
        model = SimMIM(golden_encoder(192, 6, implementation), mask_patch_size=32)
        found = find(official_weights, OFFICIAL)
        encoder = {
            name.removeprefix(found.where): official_weights[name]
            for (name,) in found.names.values()
        }
        assert load_into(model.encoder, from_official(encoder)).missing == ()
        decoder = {key: official_weights[f"decoder.0.{key}"] for key in ("weight", "bias")}
        model.decoder.conv.load_state_dict(decoder)
        model.decoder.convolves = implementation == "timm"
        return model

    return build


@pytest.fixture
def pretrain_model(pretrain_model_of):
    return pretrain_model_of(None)


@pytest.fixture
def masked_loss():
    """The loss of a batch, as the official code gives it."""

    def of(model, images, mask):
        num_masked_px = int(mask.sum()) * model.mask_patch_size**2
        error_sum = model.error_sum(images, mask)
        return masked_mean(error_sum, num_masked_px, images.shape[1])

    return of
