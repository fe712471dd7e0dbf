"""Pretraining against the official code's numbers."""

import pytest
import torch

from ssl_swin.models.masking import to_tokens
from ssl_swin.training.curve import LearningRateCurve, set_lr
from ssl_swin.training.optim import adamw, pretrain_groups


def test_loss_and_reconstruction_are_the_official_ones(
    pretrain_model, masked_loss, inputs, expected
):
    golden = expected["pretrain"]
    batch = inputs["pretrain_images"], inputs["pretrain_mask"]
    assert masked_loss(pretrain_model, *batch).item() == pytest.approx(golden["loss"], abs=1e-6)
    rebuilt = pretrain_model.reconstruct(*batch)
    assert rebuilt.mean().item() == pytest.approx(golden["reconstruction_mean"], abs=1e-5)
    assert rebuilt.std().item() == pytest.approx(golden["reconstruction_std"], abs=1e-5)
    corner = rebuilt[1, :, 0, 0].tolist()
    assert corner == pytest.approx(golden["reconstruction_corner"], abs=1e-5)


def test_features_are_the_official_ones(pretrain_model, inputs, expected):
    golden = expected["pretrain"]
    token_mask = to_tokens(inputs["pretrain_mask"], 8)
    features = pretrain_model.encoder(inputs["pretrain_images"], token_mask)
    assert list(features.shape) == golden["features_shape"]
    assert features.mean().item() == pytest.approx(golden["features_mean"], abs=1e-5)
    assert features.std().item() == pytest.approx(golden["features_std"], abs=1e-5)
    corner = features[0, :4, 0, 0].tolist()
    assert corner == pytest.approx(golden["features_corner"], abs=1e-5)


def test_gradient_of_every_parameter_has_the_official_norm(
    pretrain_model, masked_loss, inputs, expected, to_our_name
):
    golden = expected["pretrain"]
    batch = inputs["pretrain_images"], inputs["pretrain_mask"]
    masked_loss(pretrain_model, *batch).backward()
    norms = {name: p.grad.norm().item() for name, p in pretrain_model.named_parameters()}
    official = {to_our_name(key): norm for key, norm in golden["grad_norm_by_param"].items()}
    assert norms == pytest.approx(official, rel=1e-4, abs=1e-7)
    whole = torch.nn.utils.get_total_norm([p.grad for p in pretrain_model.parameters()])
    assert whole.item() == pytest.approx(golden["grad_norm"], rel=1e-4)


def test_the_same_parameters_decay_as_in_the_official_code(pretrain_model, expected, to_our_name):
    groups = {group["name"]: group for group in pretrain_groups(pretrain_model, 0.05)}
    assert list(groups) == ["decay", "no_decay"]
    assert groups["decay"]["weight_decay"] == 0.05
    assert groups["no_decay"]["weight_decay"] == 0.0
    for name, official in expected["pretrain_groups"].items():
        assert set(groups[name]["param_names"]) == {to_our_name(key) for key in official}


def follow(model, masked_loss, inputs, golden_steps, fused):
    """Train on the official inputs; return (lr, loss, gradient norm) of every step."""
    optimizer = adamw(pretrain_groups(model, 0.05), lr=0.0, fused=fused)
    curve = LearningRateCurve(
        total_steps=140, base_lr=8e-3, warmup_steps=21, warmup_lr=4e-6, min_lr=4e-5
    )
    followed = []
    for golden in golden_steps:
        rate = set_lr(optimizer, curve, golden["step"])
        loss = masked_loss(model, inputs["pretrain_images"], inputs["pretrain_mask"])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        followed.append((rate, loss.item(), norm.item()))
    return followed


# The trajectory is chaotic where the rate is high. From step 7 on a rounding grows by two a step,
# whose code it ever is: on an AVX-512 Xeon with two threads timm's follows all 30 steps to 1e-4, on
# an AMD EPYC it is 1e-3 off at step 26, with one thread or two, in float32 or float64; at step 27
# the loss jumps, and by how much is anybody's. So each stretch is held as far as rounding lets it.
@pytest.mark.parametrize("fused", [True, False])
def test_training_follows_the_official_trajectory(
    fused, pretrain_model, masked_loss, inputs, expected
):
    golden = expected["pretrain_trajectory"]["steps"]
    followed = follow(pretrain_model, masked_loss, inputs, golden[:27], fused)
    assert len(golden) == 30
    for step, (rate, loss, norm) in enumerate(followed):
        assert rate == pytest.approx(golden[step]["lr"], rel=1e-12)
        within = 1e-6 if step < 7 else 1e-4 if step < 14 else 1e-2
        assert loss == pytest.approx(golden[step]["loss"], rel=within)
        if step < 7:
            assert norm == pytest.approx(golden[step]["grad_norm"], rel=1e-5 if step < 6 else 1e-4)


def test_in_float64_sixteen_steps_of_ours_are_timms(
    pretrain_model_of, masked_loss, inputs, expected
):
    """So what float32 makes of them is rounding alone; each step makes it three times more."""
    golden, double = expected["pretrain_trajectory"]["steps"][:16], dict(inputs)
    double["pretrain_images"] = inputs["pretrain_images"].double()
    ours, timms = (
        follow(pretrain_model_of(name).double(), masked_loss, double, golden, fused=True)
        for name in ("ssl_swin", "timm")
    )
    for one, other in zip(ours, timms, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "multistep"])
def test_the_learning_rate_of_every_step_is_the_official_one(schedule, expected):
    golden = expected["schedules"][schedule]
    per_epoch = expected["schedules"]["steps_per_epoch"]
    curve = LearningRateCurve(
        total_steps=golden["epochs"] * per_epoch,
        base_lr=golden["base_lr"],
        schedule=schedule,
        warmup_steps=golden["warmup_epochs"] * per_epoch,
        warmup_lr=golden["warmup_lr"],
        min_lr=golden.get("min_lr", 0.0),
        milestones=tuple(epoch * per_epoch for epoch in golden.get("milestone_epochs", ())),
        gamma=golden.get("gamma", 0.1),
    )
    rates = [curve.at(step) for step in range(len(golden["lr_used_at_step"]))]
    assert rates == pytest.approx(golden["lr_used_at_step"], rel=1e-9, abs=0)
