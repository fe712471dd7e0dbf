"""Layers, decay and rates of Swin V2-B under its official recipes, held to the recipe's page."""

import pytest
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.simmim import SimMIM
from ssl_swin.training.optim import finetune_groups, pretrain_groups

LAYER_DECAY, HEAD = 0.75, 25  # depths 2, 2, 18, 2: layers 0 to 25
# Worked out by hand: name in the backbone -> layer, whether it decays in fine-tuning, and in
# pretraining, where the official code misses the names of what it means to exempt.
BY_HAND = {
    "patch_embed.proj.weight": (0, True, True),
    "patch_embed.norm.weight": (0, False, False),
    "layers.0.blocks.0.attn.qkv.weight": (1, True, True),
    "layers.0.blocks.1.attn.q_bias": (2, False, False),
    "layers.0.blocks.1.attn.cpb_mlp.0.weight": (2, False, True),
    "layers.1.downsample.reduction.weight": (2, True, True),  # of the stage before it, as there
    "layers.1.downsample.norm.bias": (2, False, False),
    "layers.2.blocks.0.attn.logit_scale": (5, False, True),
    "layers.2.blocks.17.attn.cpb_mlp.2.weight": (22, False, True),
    "layers.2.blocks.17.attn.cpb_mlp.0.bias": (22, False, False),
    "layers.3.downsample.norm.weight": (22, False, False),
    "layers.3.blocks.1.mlp.fc1.weight": (24, True, True),
    "layers.3.blocks.1.norm2.weight": (24, False, False),
    "norm.weight": (25, False, False),
}


@pytest.fixture
def encoder():
    with torch.device("meta"):
        return build_encoder("swinv2_base_window12_192", 192, 3, window_size=12)


def by_name(groups):
    return {name: group for group in groups for name in group["param_names"]}


def test_fine_tuning_is_as_worked_out_by_hand(encoder):
    with torch.device("meta"):
        groups = by_name(finetune_groups(Classifier(encoder, 1000), 0.05, LAYER_DECAY))
    for name, (layer, decays, _) in BY_HAND.items():
        group = groups[f"encoder.backbone.{name}"]
        assert group["weight_decay"] == (0.05 if decays else 0.0), name
        assert group["lr_scale"] == pytest.approx(LAYER_DECAY ** (HEAD - layer)), name
    assert groups["head.weight"]["lr_scale"] == 1.0


def test_pretraining_decays_scores_as_the_official_code_does(encoder):
    with torch.device("meta"):
        groups = by_name(pretrain_groups(SimMIM(encoder, 32), 0.05))
    for name, (_, _, decays) in BY_HAND.items():
        assert groups[f"encoder.backbone.{name}"]["weight_decay"] == (0.05 if decays else 0.0), name
    assert groups["encoder.mask_token"]["weight_decay"] == 0.0


def test_every_parameter_follows_the_words_of_the_official_code(encoder):
    """No decay: vectors, biases, and names with a keyword; in pretraining no keyword is found."""
    with torch.device("meta"):
        tuned = by_name(finetune_groups(Classifier(encoder, 1000), 0.05, LAYER_DECAY))
    for name, parameter in encoder.named_parameters():
        vector = parameter.ndim == 1 or name.endswith(".bias")
        keyword = "cpb_mlp" in name or "logit_scale" in name
        if name == "mask_token":  # fine-tuning never uses it
            assert f"encoder.{name}" not in tuned
            continue
        expected = 0.0 if vector or keyword else 0.05
        assert tuned[f"encoder.{name}"]["weight_decay"] == expected, name
