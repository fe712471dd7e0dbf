"""The official code's numbers on the device: in float32, and in bf16 within its rounding."""

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.masking import to_tokens
from ssl_swin.pretrained.open import find_weights, load_into
from ssl_swin.training.curve import LearningRateCurve, set_lr
from ssl_swin.training.optim import adamw, pretrain_groups
from ssl_swin.training.trainer import allow_tf32
from tests.gpu.device import DEVICE

BF16 = 2.0**-8  # half the distance of neighbours next to 1


@pytest.fixture(autouse=True)
def whole_float32():
    """Let nothing round its inputs to TF32, as in a run; by torch's default, convolutions do."""
    allow_tf32(False)


@pytest.fixture
def model(pretrain_model):
    return pretrain_model.to(DEVICE)


@pytest.fixture
def batch(inputs):
    return inputs["pretrain_images"].to(DEVICE), inputs["pretrain_mask"].to(DEVICE)


def grad_norms(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters()}


def test_loss_features_and_reconstruction(model, batch, masked_loss, expected):
    golden, (images, mask) = expected["pretrain"], batch
    assert masked_loss(model, *batch).item() == pytest.approx(golden["loss"], rel=1e-5)
    rebuilt = model.reconstruct(*batch)
    corner = rebuilt[1, :, 0, 0].tolist()
    assert corner == pytest.approx(golden["reconstruction_corner"], abs=1e-4)
    features = model.encoder(images, to_tokens(mask, 8))
    assert list(features.shape) == golden["features_shape"]
    corner = features[0, :4, 0, 0].tolist()
    assert corner == pytest.approx(golden["features_corner"], abs=1e-4)


def test_the_gradient_of_every_parameter(model, batch, masked_loss, expected, to_our_name):
    golden = expected["pretrain"]["grad_norm_by_param"]
    masked_loss(model, *batch).backward()
    official = {to_our_name(key): norm for key, norm in golden.items()}
    assert grad_norms(model) == pytest.approx(official, rel=1e-3, abs=1e-6)


def test_the_first_steps_of_training(model, batch, masked_loss, expected):
    """Later ones are chaotic: see `tests/golden/`."""
    optimizer = adamw(pretrain_groups(model, 0.05), lr=0.0)
    curve = LearningRateCurve(140, 8e-3, warmup_steps=21, warmup_lr=4e-6, min_lr=4e-5)
    golden = expected["pretrain_trajectory"]["steps"][:7]
    for step in golden:
        set_lr(optimizer, curve, step["step"])
        loss = masked_loss(model, *batch)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        assert loss.item() == pytest.approx(step["loss"], rel=1e-3)
        assert norm.item() == pytest.approx(step["grad_norm"], rel=1e-2)


def test_logits_of_fine_tuning_at_another_size_and_window(
    golden_encoder, official_path, inputs, expected
):
    encoder = golden_encoder(224, 7)
    load_into(encoder, find_weights(official_path).state)
    classifier = Classifier(encoder, num_classes=10)
    head = {key: inputs[f"finetune_head_{key}"] for key in ("weight", "bias")}
    classifier.head.load_state_dict(head)
    with torch.no_grad():
        logits = classifier.eval().to(DEVICE)(inputs["finetune_images"].to(DEVICE)).cpu()
    official = torch.tensor(expected["finetune"]["logits"])
    torch.testing.assert_close(logits, official, rtol=0, atol=1e-4)


def test_bf16_differs_from_the_official_numbers_by_its_rounding(
    model, batch, masked_loss, expected, to_our_name
):
    """The loss is a mean of many errors, so they cancel; gradients go through all blocks."""
    golden = expected["pretrain"]
    with torch.autocast(DEVICE.type, torch.bfloat16):
        loss = masked_loss(model, *batch)
    assert loss.dtype == torch.float32
    loss.backward()
    assert loss.item() == pytest.approx(golden["loss"], rel=BF16 / 2)
    whole = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert whole.item() == pytest.approx(golden["grad_norm"], rel=4 * BF16)
    norms = grad_norms(model)
    for key, norm in golden["grad_norm_by_param"].items():
        assert norms[to_our_name(key)] == pytest.approx(norm, abs=2 * BF16 * golden["grad_norm"])
