"""The hand-off and fine-tuning against the official code's numbers."""

import subprocess
import sys

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.open import find_weights, load_into, open_encoder
from ssl_swin.pretrained.window import resize_tables
from ssl_swin.training.curve import LearningRateCurve, set_lr
from ssl_swin.training.optim import adamw, finetune_groups


@pytest.fixture
def classifier(golden_encoder, official_path, inputs):
    found = find_weights(official_path)
    state, card = found.state, found.card
    assert card is None
    encoder = golden_encoder(224, 7)
    load_into(encoder, state)
    model = Classifier(encoder, num_classes=10)
    head = {key: inputs[f"finetune_head_{key}"] for key in ("weight", "bias")}
    model.head.load_state_dict(head)
    return model.eval()


def test_position_tables_move_to_another_window_as_in_the_official_code(
    golden_encoder, official_path, inputs, to_our_name
):
    state = find_weights(official_path).state
    resized = resize_tables(state, golden_encoder(224, 7)).state
    official = {key: value for key, value in inputs.items() if key.startswith("remapped.")}
    assert len(official) == 8
    for key, table in official.items():
        name = to_our_name(key.removeprefix("remapped.")).removeprefix("encoder.")
        torch.testing.assert_close(resized[name], table, rtol=0, atol=1e-5)


def test_the_official_checkpoint_says_what_encoder_it_is_of(golden_encoder, official_path):
    opened = open_encoder(official_path)
    assert opened.encoder.architecture() == golden_encoder(192, 6).architecture()
    assert opened.report.missing == opened.report.resized == ()
    assert len(open_encoder(official_path, img_size=224, window_size=7).report.resized) == 8


def test_logits_at_another_size_and_window_are_the_official_ones(classifier, inputs, expected):
    images = inputs["finetune_images"]
    golden = expected["finetune"]
    with torch.no_grad():
        logits, features = classifier(images), classifier.features(images)
    torch.testing.assert_close(logits, torch.tensor(golden["logits"]), rtol=0, atol=1e-5)
    corner = torch.tensor(golden["pooled_features_corner"])
    torch.testing.assert_close(features[:, : corner.shape[1]], corner, rtol=0, atol=1e-4)


def test_layer_decay_groups_are_the_official_ones(classifier, expected, to_our_name):
    golden = expected["finetune_groups"]
    ours = {
        group["name"]: (group["lr_scale"], group["weight_decay"], set(group["param_names"]))
        for group in finetune_groups(classifier, 0.05, golden["layer_decay"])
    }
    official = {
        group["group"]: (
            pytest.approx(group["lr_scale"], rel=1e-12),
            group["weight_decay"],
            {to_our_name(key) for key in group["params"]},
        )
        for group in golden["groups"]
    }
    assert ours == official


def test_every_layer_learns_at_the_official_rate(classifier, expected):
    optimizer = adamw(finetune_groups(classifier, 0.05, 0.9), lr=0.0)
    curve = LearningRateCurve(
        total_steps=140, base_lr=5e-3, warmup_steps=21, warmup_lr=1e-6, min_lr=1e-6
    )
    for golden in expected["finetune_schedule"]["steps"]:
        set_lr(optimizer, curve, golden["step"])
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates == pytest.approx(golden["lr_by_group"], rel=1e-9, abs=0)


def test_an_official_checkpoint_loads_where_yacs_cannot_be_imported(official_path):
    code = (
        "import sys; sys.modules['yacs'] = None\n"
        "from pathlib import Path\n"
        "from ssl_swin.pretrained.tensors import read_tensors\n"
        f"print(len(read_tensors(Path({str(official_path)!r}))))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 122
