"""A small encoder, and ways to build it a little differently."""

import pytest
import torch

from ssl_swin.models.swin import SwinEncoder


@pytest.fixture
def tiny():
    def build(**change):
        torch.manual_seed(change.pop("seed", 0))
        sizes = {
            "img_size": 64,
            "window_size": 4,
            "embed_dim": 16,
            "depths": (2, 2),
            "num_heads": (2, 4),
        } | change
        return SwinEncoder("swin_tiny_patch4_window7_224", **sizes)

    return build
