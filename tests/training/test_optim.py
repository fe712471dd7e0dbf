import pytest
import torch
from torch import nn

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.training.optim import adamw, finetune_groups, layer_id, pretrain_groups


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


@pytest.mark.parametrize("depths", [(2, 2), (2, 4, 2), (2, 2, 6, 2)])
def test_layers_are_counted_from_the_image_to_the_head(depths):
    names = [name for name, _ in Classifier(tiny(depths), 5).named_parameters()]
    ids = {name: layer_id(name, depths) for name in names}
    assert set(ids.values()) == set(range(sum(depths) + 2))
    assert ids["encoder.backbone.patch_embed.norm.weight"] == 0
    assert ids["encoder.backbone.norm.weight"] == ids["head.bias"] == sum(depths) + 1
    for stage in range(1, len(depths)):
        before = f"encoder.backbone.layers.{stage - 1}.blocks.{depths[stage - 1] - 1}.norm1.weight"
        downsample = f"encoder.backbone.layers.{stage}.downsample.reduction.weight"
        after = f"encoder.backbone.layers.{stage}.blocks.0.norm1.weight"
        assert ids[downsample] == ids[before] == ids[after] - 1


def test_the_scale_of_a_layer_is_the_decay_to_the_power_of_its_distance_from_the_head():
    groups = {g["name"]: g["lr_scale"] for g in finetune_groups(Classifier(tiny(), 5), 0.05, 0.5)}
    assert groups["layer_9_decay"] == 1.0
    assert groups["layer_8_no_decay"] == 0.5
    assert groups["layer_0_decay"] == 0.5**9


def test_without_layer_decay_every_layer_learns_alike():
    assert {g["lr_scale"] for g in finetune_groups(Classifier(tiny(), 5), 0.05, 1.0)} == {1.0}


def test_frozen_parameters_are_left_out_but_their_layers_are_counted():
    model = Classifier(tiny(), 5)
    model.encoder.requires_grad_(False)
    groups = finetune_groups(model, 0.05, 0.5)
    assert [(g["name"], g["lr_scale"]) for g in groups] == [
        ("layer_9_decay", 1.0),
        ("layer_9_no_decay", 1.0),
    ]


def test_a_parameter_of_no_known_layer_is_refused():
    with pytest.raises(ValueError, match="belongs to no known layer"):
        finetune_groups(nn.ModuleDict({"other": nn.Linear(2, 2)}), 0.05, 0.9)
    with pytest.raises(ValueError, match="layer_decay=0"):
        finetune_groups(nn.Linear(2, 2), 0.05, 0)


def test_the_optimisers_state_survives_a_round_trip_through_a_safe_checkpoint(tmp_path):
    model = SimMIM(tiny(), 16)
    optimizer = adamw(pretrain_groups(model, 0.05), lr=1e-3)
    images, mask = torch.randn(1, 3, 64, 64), torch.ones(1, 4, 4).bool()
    model(images, mask).loss.backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c")
    checkpoint = torch.load(tmp_path / "c", weights_only=True)
    again = SimMIM(tiny(), 16)
    again.load_state_dict(checkpoint["model"])
    optimizer_again = adamw(pretrain_groups(again, 0.05), lr=0.0)
    optimizer_again.load_state_dict(checkpoint["optimizer"])
    for each, its_optimizer in ((model, optimizer), (again, optimizer_again)):
        its_optimizer.zero_grad()
        each(images, mask).loss.backward()
        its_optimizer.step()
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


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
