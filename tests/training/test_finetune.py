from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ssl_swin.evaluation.heldout import NUM_OF, RIGHT_OF, SAID, SURE
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.training.erasing import Erasing
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.optim import clip
from ssl_swin.training.regularise import Regularisation
from tests.training.tiny import BATCH, SIZES, batches, schedule

PLAIN = Regularisation(0, num_classes=7, mixup=0.0, cutmix=0.0, label_smoothing=0.0)


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
    boxes = torch.tensor([[0, 0, 0, 0], [3, 4, 5, 6]]).repeat(BATCH // 2, 1)
    return found | {"label": torch.tensor([0, 1, 2, 3, 4, 5, 6, 0]), "erased": boxes}


def test_without_mixing_the_loss_is_the_mean_cross_entropy(module, batch):
    with torch.no_grad():
        logits = module.network(module.normalise(batch["image"]))
        loss = module.loss(module.micro_batch(batch, 0, BATCH))
    expected = functional.cross_entropy(logits, batch["label"])
    assert float(loss) == pytest.approx(float(expected), rel=1e-12)


def test_mixing_is_within_the_share_and_depends_on_the_step(module, batch):
    module.regularise = replace(PLAIN, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    first, again = (module.micro_batch(batch, 0, BATCH) for _ in range(2))
    module.step += 1
    other = module.micro_batch(batch, 0, BATCH)
    assert first["target"].shape == (BATCH, 7)
    for name in ("image", "target"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("num", [8, 7])
def test_a_share_is_regularised_by_micro_batches_as_if_at_once(module, batch, size, num):
    module.regularise = replace(PLAIN, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    module.erasing, share = Erasing(0), {name: value[:num] for name, value in batch.items()}
    most, normalise = [], module.normalise.forward
    module.normalise.forward = lambda images: most.append(len(images)) or normalise(images)
    for module.step in range(4):
        whole = module.micro_batch(share, 0, num)
        most.clear()
        starts = range(0, num, size)
        cut = [module.micro_batch(share, start, min(start + size, num)) for start in starts]
        assert max(most) <= size  # floats are made of a micro-batch, never of the share
        for name, value in whole.items():
            assert torch.equal(torch.cat([one[name] for one in cut]), value)


def test_a_step_asks_the_device_for_no_number(module, batch):
    module.regularise = replace(PLAIN, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    module.erasing = Erasing(0).double()
    share = {name: value if name == "erased" else value.to("meta") for name, value in batch.items()}
    module.to("meta")
    for start in range(0, BATCH, 4):  # a device without memory answers no question
        module.loss(module.micro_batch(share, start, start + 4)).backward()
    parameters = [one for one in module.parameters() if one.grad is not None]
    assert clip(parameters, 5.0).is_meta


def test_measurements_are_sums_over_the_images(module, batch):
    with torch.no_grad():
        found = module.eval().measure(batch)
        logits = module.network(module.normalise(batch["image"]))
    ranked = logits.argsort(dim=1, descending=True).tolist()
    label = batch["label"].tolist()
    for name, num in (("top1", 1), ("top5", 5)):
        right = sum(one in row[:num] for one, row in zip(label, ranked, strict=True))
        assert found[name] == 100 * right
    assert found[NUM_OF].tolist() == [2, 1, 1, 1, 1, 1, 1]
    rights = [row[0] * (one == row[0]) for one, row in zip(label, ranked, strict=True)]
    assert found[RIGHT_OF].sum() == found["top1"] / 100
    assert all(found[RIGHT_OF][one] for one in set(rights) - {0})
    assert found[SAID].tolist() == [row[0] for row in ranked]
    assert torch.equal(found[SURE], logits.double().softmax(dim=1).amax(dim=1))
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
