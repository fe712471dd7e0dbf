"""A tiny encoder in a run folder, a tiny ViT of timm in a file, and shards of colour noise."""

import pytest
import torch

from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.record.run_folder import RunFolder

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SIZES = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (2, 1), "num_heads": (1, 2)}


@pytest.fixture(scope="session")
def encoder_run(tmp_path_factory):
    """Factory of run folders with an encoder: the same seed, the same weights."""

    def make(seed=0, **card):
        torch.manual_seed(seed)
        encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=3, **SIZES)
        folder = RunFolder(tmp_path_factory.mktemp("run"))
        found = EncoderCard.of(encoder, MEAN, STD, **card)
        write_encoder(folder.encoder, encoder.state_dict(), found)
        return folder.root

    return make


@pytest.fixture(scope="session")
def noise(tiny_shards):
    """A folder of 300 images in two tars, of which two cannot be decoded."""
    return tiny_shards([170, 130], broken={3, 290}, mode="RGB")
