"""A small encoder, and ways to build it a little differently."""

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.record.run_folder import RunFolder
from tests.pretrained.runs import MEAN, STD


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


@pytest.fixture
def run(tiny, tmp_path):
    """A run folder with an encoder, and that encoder."""
    encoder = tiny(seed=1).eval()
    card = EncoderCard.of(encoder, MEAN, STD, crop_pct=0.9, white=255.0, decoder="pil")
    write_encoder(RunFolder(tmp_path).encoder, encoder.state_dict(), card)
    return tmp_path, encoder


@pytest.fixture
def finetuned(tiny, tmp_path):
    """A fine-tuning's run folder with a classifier, and that classifier."""
    classifier = Classifier(tiny(seed=1), 3).eval()
    card = ClassifierCard(
        classifier.encoder.architecture(), ("cat", "dog", "owl"), MEAN, STD, 64, crop_pct=0.9
    )
    write_classifier(RunFolder(tmp_path).classifier, classifier.state_dict(), card)
    return tmp_path, classifier
