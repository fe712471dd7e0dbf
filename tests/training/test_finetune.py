from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.regularise import Regularisation
from tests.training.tiny import BATCH, SIZES, batches, schedule

PLAIN = Regularisation(0, num_classes=7, erasing=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.0)


@pytest.fixture
def module():
    torch.manual_seed(0)
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=1, **SIZES)
    classifier = Classifier(encoder, 7)
    torch.nn.init.normal_(classifier.head.weight)  # so that the classes differ
    normalise = Normalisation((0.5,), (0.5,))
    return FinetuneModule(classifier, normalise, PLAIN, schedule(), layer_decay=0.5).double()


@pytest.fixture
def batch():
    (found,) = batches(1)
    return found | {"label": torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])}


def test_without_mixing_the_loss_is_the_mean_cross_entropy(module, batch):
    with torch.no_grad():
        logits = module.network(module.normalise(batch["image"]))
        loss = module.loss(module.prepare(batch))
    expected = functional.cross_entropy(logits, batch["label"])
    assert float(loss) == pytest.approx(float(expected), rel=1e-12)


def test_mixing_is_within_the_share_and_depends_on_the_step(module, batch):
    module.regularise = replace(PLAIN, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    first, again = module.prepare(batch), module.prepare(batch)
    module.step += 1
    other = module.prepare(batch)
    assert first["target"].shape == (BATCH, 7)
    assert torch.equal(first["index"], batch["index"])
    for name in ("image", "target"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_measurements_are_sums_over_the_images(module, batch):
    with torch.no_grad():
        found = module.eval().measure(batch)
        logits = module.network(module.normalise(batch["image"]))
    ranked = logits.argsort(dim=1, descending=True).tolist()
    label = batch["label"].tolist()
    for name, num in (("top1", 1), ("top5", 5)):
        right = sum(one in row[:num] for one, row in zip(label, ranked, strict=True))
        assert found[name] == 100 * right
    loss = functional.cross_entropy(logits, batch["label"]) * BATCH
    assert float(found["heldout_loss"]) == pytest.approx(float(loss), rel=1e-12)
    assert {value.dtype for value in found.values()} == {torch.float64}


def test_with_fewer_than_five_classes_every_label_is_among_the_top_5(batch):
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", in_chans=1, **SIZES)
    normalise, few = Normalisation((0.5,), (0.5,)), replace(PLAIN, num_classes=3)
    module = FinetuneModule(Classifier(encoder, 3), normalise, few, schedule(), 1.0)
    with torch.no_grad():
        found = module.measure(batch | {"label": batch["label"] % 3})
    assert found["top5"] == 100 * BATCH


def test_lower_layers_learn_more_slowly(module):
    assert {group["lr_scale"] for group in module.parameter_groups()} == {1.0, 0.5, 0.25, 0.125}
