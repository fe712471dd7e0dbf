import itertools
from functools import partial

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.heads import Head
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.targets import TARGETS
from ssl_swin.models.transformer_decoder import TransformerDecoder
from ssl_swin.training.optim import (
    adamw,
    clip,
    finetune_groups,
    load_moments,
    pretrain_groups,
    step_if,
)
from tests.toys.toy_encoder import ToyEncoder


def tiny(depths=(2, 4, 2)):
    heads = tuple(2**stage for stage in range(len(depths)))
    return SwinEncoder(
        "swin_tiny_patch4_window7_224",
        img_size=64,
        window_size=4,
        embed_dim=16,
        depths=depths,
        num_heads=heads,
    )


@pytest.mark.parametrize("grouped", ["pretrain", "finetune"])
def test_every_trained_parameter_is_in_one_group(grouped):
    if grouped == "pretrain":
        model = SimMIM(tiny(), 16)
        groups = pretrain_groups(model, 0.05)
    else:
        model = Classifier(tiny(), 5)
        groups = finetune_groups(model, 0.05, 0.8)
    listed = [pair for g in groups for pair in zip(g["param_names"], g["params"], strict=True)]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(listed) == len(trained)
    assert all(trained[name] is parameter for name, parameter in listed)
    assert len({group["name"] for group in groups}) == len(groups)


def test_position_tables_decay_in_pretraining_and_not_in_fine_tuning():
    def decaying(groups):
        return {n for g in groups if g["weight_decay"] for n in g["param_names"]}

    pretrained = decaying(pretrain_groups(SimMIM(tiny(), 16), 0.05))
    finetuned = decaying(finetune_groups(Classifier(tiny(), 5), 0.05, 0.8))
    assert sum("relative_position_bias_table" in name for name in pretrained) == 8
    assert not any("relative_position_bias_table" in name for name in finetuned)
    assert not any("mask_token" in name or name.endswith("bias") for name in pretrained | finetuned)


def test_the_encoder_says_what_does_not_decay_and_in_which_layer_it_is():
    groups = {g["name"]: g for g in pretrain_groups(SimMIM(ToyEncoder(), 8), 0.05)}
    assert {"encoder.hidden", "encoder.place"} <= set(groups["no_decay"]["param_names"])
    groups = {g["name"]: g for g in finetune_groups(Classifier(ToyEncoder(), 5), 0.05, 0.5)}
    assert groups["layer_0_no_decay"]["param_names"] == ["encoder.place", "encoder.stem.bias"]
    assert groups["layer_2_decay"]["param_names"] == ["encoder.layers.1.weight"]
    assert groups["layer_3_decay"]["param_names"] == ["head.weight"]
    assert groups["layer_3_no_decay"]["lr_scale"] == 1.0


def test_the_scale_of_a_layer_is_the_decay_to_the_power_of_its_distance_from_the_head():
    groups = {g["name"]: g["lr_scale"] for g in finetune_groups(Classifier(tiny(), 5), 0.05, 0.5)}
    assert groups["layer_9_decay"] == 1.0
    assert groups["layer_8_no_decay"] == 0.5
    assert groups["layer_0_decay"] == 0.5**9


def test_without_layer_decay_every_layer_learns_alike():
    assert {g["lr_scale"] for g in finetune_groups(Classifier(tiny(), 5), 0.05, 1.0)} == {1.0}


def test_layers_of_a_pretraining_learn_slower_and_what_begins_new_does_not():
    model = SimMIM(ToyEncoder(), 8)
    groups = {g["name"]: g for g in pretrain_groups(model, 0.05, 0.5)}
    assert groups["layer_0_no_decay"]["param_names"] == ["encoder.place", "encoder.stem.bias"]
    scales = {name: group["lr_scale"] for name, group in groups.items()}
    assert (scales["layer_0_decay"], scales["layer_2_decay"]) == (0.5**3, 0.5)
    new = {n for g in groups.values() if g["lr_scale"] == 1 for n in g["param_names"]}
    above = ("decoder.", "encoder.norm.", "encoder.hidden")
    assert new == {name for name, _ in model.named_parameters() if name.startswith(above)}
    flat = {n for g in pretrain_groups(model, 0.05) if g["weight_decay"] for n in g["param_names"]}
    assert flat == {n for g in groups.values() if g["weight_decay"] for n in g["param_names"]}


def test_of_decoders_and_a_token_on_pixels_the_matrices_decay():
    decoder = partial(TransformerDecoder, dim=8, depth=1, num_heads=2, positions="sin-cos")
    model = SimMIM(tiny(), 16, heads=[Head(TARGETS["pixels"](), decoder=decoder)], token="pixels")
    groups = {g["name"]: g["param_names"] for g in pretrain_groups(model, 0.05)}
    decayed = {name for name in groups["decay"] if name.startswith("decoder.")}
    of_blocks = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    layers = ["embed", "predict", *(f"blocks.0.{one}" for one in of_blocks)]
    assert decayed == {f"decoder.{layer}.weight" for layer in layers}
    assert "pixel_token" in groups["no_decay"]
    assert not any("mask_token" in name for names in groups.values() for name in names)
    scales = {n: g["lr_scale"] for g in pretrain_groups(model, 0.05, 0.5) for n in g["param_names"]}
    assert scales["pixel_token"] == scales["decoder.embed.weight"] == 1


def test_frozen_parameters_are_left_out_but_their_layers_are_counted():
    model = Classifier(tiny(), 5)
    model.encoder.requires_grad_(False)
    groups = finetune_groups(model, 0.05, 0.5)
    assert [(g["name"], g["lr_scale"]) for g in groups] == [
        ("layer_9_decay", 1.0),
        ("layer_9_no_decay", 1.0),
    ]


def test_a_layer_decay_of_nothing_is_refused():
    with pytest.raises(ValueError, match="layer_decay=0"):
        pretrain_groups(SimMIM(tiny(), 16), 0.05, 0.0)
    with pytest.raises(ValueError, match="layer_decay=0"):
        finetune_groups(Classifier(tiny(), 5), 0.05, 0)


def test_the_optimisers_state_survives_a_round_trip_through_a_safe_checkpoint(tmp_path):
    model = SimMIM(tiny(), 16)
    optimizer = adamw(pretrain_groups(model, 0.05), lr=1e-3)
    images, mask = torch.randn(1, 3, 64, 64), torch.ones(1, 4, 4).bool()
    model(images, mask).backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c")
    checkpoint = torch.load(tmp_path / "c", weights_only=True)
    again = SimMIM(tiny(), 16)
    again.load_state_dict(checkpoint["model"])
    optimizer_again = adamw(pretrain_groups(again, 0.05), lr=0.0)
    optimizer_again.load_state_dict(checkpoint["optimizer"])
    for each, its_optimizer in ((model, optimizer), (again, optimizer_again)):
        its_optimizer.zero_grad()
        each(images, mask).backward()
        its_optimizer.step()
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def stepped(layer_decay, **options):
    """A classifier's optimiser after a step, always with the same moments."""
    model = Classifier(ToyEncoder(), 5)
    optimizer = adamw(finetune_groups(model, 0.05, layer_decay), lr=1e-3, **options)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, float(len(name)))
    optimizer.step()
    return model, optimizer


def test_moments_are_loaded_by_name_and_options_are_the_new_ones():
    model, saved = stepped(0.5, betas=(0.5, 0.5), fused=False)
    again = Classifier(ToyEncoder(), 5)
    (first, *groups) = finetune_groups(again, 0.25, 1.0)
    halves = [
        first | {k: first[k][i:j] for k in ("params", "param_names")} for i, j in ((0, 1), (1, 2))
    ]
    optimizer = adamw([*reversed(groups), *halves], lr=2e-3, betas=(0.75, 0.875))
    before = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    load_moments(optimizer, saved.state_dict())
    after = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    assert after == before
    names = {parameter: name for name, parameter in model.named_parameters()}
    known = {names[parameter]: moments for parameter, moments in saved.state.items()}
    found = {
        name: optimizer.state[one] for name, one in again.named_parameters() if one.requires_grad
    }
    assert found.keys() == known.keys()
    for name, moments in known.items():
        assert all(torch.equal(found[name][one], value) for one, value in moments.items())


@pytest.mark.parametrize("max_norm", [2.0, 20.0])
def test_a_scaled_gradient_is_clipped_and_stepped_with_as_if_it_were_not(max_norm):
    ends = []
    for scale, fused in itertools.product((None, torch.tensor(2.0**16)), (True, False)):
        weight = torch.nn.Parameter(torch.ones(5))
        optimizer = adamw([{"params": [weight]}], lr=1e-3, fused=fused)
        weight.grad = torch.arange(5.0) * (1.0 if scale is None else scale)
        assert float(clip([weight], max_norm, scale)) == pytest.approx(30**0.5)
        step_if(torch.tensor(True), optimizer, scale)
        ends.append((weight.detach(), optimizer.state[weight]["exp_avg"]))
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0])


def test_fused_and_plain_steps_agree():
    torch.manual_seed(0)
    start = tiny((2, 2))
    ends = []
    for fused in (True, False):
        model = SimMIM(tiny((2, 2)), 16)
        model.encoder.load_state_dict(start.state_dict())
        torch.nn.init.constant_(model.decoder.conv.weight, 0.01)
        torch.nn.init.zeros_(model.decoder.conv.bias)
        optimizer = adamw(pretrain_groups(model, 0.05), lr=1e-3, fused=fused)
        assert bool(optimizer.defaults["fused"]) is fused
        for parameter in model.parameters():
            parameter.grad = torch.sin(torch.arange(parameter.numel()).view_as(parameter).float())
        optimizer.step()
        ends.append(list(model.parameters()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
