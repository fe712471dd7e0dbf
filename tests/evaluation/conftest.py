"""A tiny classifier of three classes in a run folder, and photographs of noise."""

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from ssl_swin.record.run_folder import RunFolder
from tests.conftest import png

CLASSES = ("cat", "dog, large", "Hündin")
SIZES = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory):
    """Factory of run folders with a classifier of RGB images; the same names, the same weights."""

    def make(classes=CLASSES, seed=0):
        torch.manual_seed(seed)
        encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=3, **SIZES)
        network = Classifier(encoder, len(classes))
        torch.nn.init.normal_(network.head.weight, std=3.0)  # so that images differ
        mean = (0.5, 0.4, 0.3)
        card = ClassifierCard(encoder.architecture(), tuple(classes), mean, (0.25,) * 3, 32)
        folder = RunFolder(tmp_path_factory.mktemp("run"))
        write_classifier(folder.classifier, network.state_dict(), card)
        return folder.root

    return make


@pytest.fixture
def photos(tmp_path):
    """Make so many PNGs in a folder, those at some places broken; return the folder."""

    def make(num, broken=(), folder="photos", size=(40, 33)):
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for number in range(num):
            data = b"no image" if number in broken else png(number, size, "RGB")
            (place / f"{number:03d}.png").write_bytes(data)
        return place

    return make
