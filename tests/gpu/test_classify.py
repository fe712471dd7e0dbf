"""A classifier gives the same answers on a GPU as on the CPU, but for rounding."""

import pytest
import torch

from ssl_swin.evaluation.classify import Computing, classify
from ssl_swin.evaluation.images import open_images
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.pretrained.classifier import open_classifier
from tests.gpu.device import DEVICE


@pytest.mark.parametrize("num_workers", [0, 2])
def test_probabilities_are_those_of_the_cpu(classifier_run, tiny_shards, num_workers):
    run, found = classifier_run(), {}
    images, _ = open_images([str(tiny_shards([30, 11], broken={5}, mode="RGB"))])
    for device in ("cpu", str(DEVICE)):
        opened = open_classifier(run)
        computing = Computing(device, batch_size=8, num_workers=num_workers, flip=True)
        answers = list(classify(opened, PixelStream(images, opened.card), computing))
        found[device] = torch.cat([one.probability for one in answers])
        assert [place for one in answers for place in one.index.tolist()] == list(range(41))
        assert [place for one in answers for place in one.index[one.broken].tolist()] == [5]
    assert torch.allclose(found["cpu"], found[str(DEVICE)], atol=1e-3)
