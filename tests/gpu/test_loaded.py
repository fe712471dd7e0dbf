"""An encoder in Python follows `.to(DEVICE)` and `.half()`, and so does what it is called with."""

import numpy as np
import torch

import ssl_swin
from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.classifier import ClassifierCard, write_classifier
from tests.data.pixels.pictures import photograph
from tests.gpu.device import DEVICE

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
PHOTOGRAPHS = [photograph((90, 70), seed=n) for n in range(4)]


def written(folder):
    """Write a classifier of random weights, and return its path."""
    torch.manual_seed(0)
    sizes = {"window_size": 4, "embed_dim": 32, "depths": (1, 1), "num_heads": (2, 4)}
    model = ssl_swin.SimMIM.of("swin_tiny_patch4_window7_224", 64, mask_patch_size=16, **sizes)
    classifier, path = Classifier(model.encoder, 3), folder / "classifier.safetensors"
    card = ClassifierCard(model.encoder.architecture(), ("a", "b", "c"), MEAN, STD, 64)
    write_classifier(path, classifier.state_dict(), card)
    return path


def test_features_in_half_precision_are_those_of_the_cpu(tmp_path):
    encoder = ssl_swin.load_encoder(written(tmp_path))
    images, pixels = encoder.preprocess(PHOTOGRAPHS), encoder.preprocess.pixels(PHOTOGRAPHS)
    with torch.no_grad():
        wanted = encoder(images)
        encoder.to(DEVICE).half()
        for given in (images, images.to(DEVICE), pixels, pixels.to(DEVICE)):
            features = encoder(given)
            assert (features.device.type, features.dtype) == (DEVICE.type, torch.float16)
            torch.testing.assert_close(features.float().cpu(), wanted, rtol=0.02, atol=0.02)


def test_predictions_are_those_of_the_cpu(tmp_path):
    classifier = ssl_swin.load_classifier(written(tmp_path))
    wanted = classifier.predict(PHOTOGRAPHS)
    for found, before in zip(classifier.to(DEVICE).predict(PHOTOGRAPHS), wanted, strict=True):
        np.testing.assert_allclose(sorted(found.probabilities), sorted(before.probabilities), 1e-3)


def test_a_loop_of_ones_own_draws_the_masks_of_the_cpu_and_learns():
    torch.manual_seed(0)
    sizes = {"window_size": 4, "embed_dim": 32, "depths": (1, 1), "num_heads": (2, 4)}
    model = ssl_swin.SimMIM.of("swin_tiny_patch4_window7_224", 64, mask_patch_size=16, **sizes)
    index, images = torch.arange(4), torch.randn(4, 3, 64, 64)
    on_cpu = model.random_mask(index, epoch=1)
    model.to(DEVICE)
    mask = model.random_mask(index.to(DEVICE), epoch=1)
    assert torch.equal(mask.cpu(), on_cpu)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(20):
        loss = model(images.to(DEVICE), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
