"""The parameter groups of the published recipes: as written down, and some worked out by hand.

By hand, from sections 8 and 9 of the recipe's facts. A Swin of depths 2, 2, 18, 2 has layers 0 (the
stem) to 25 (last norm and head); blocks of the stages are 1 to 2, 3 to 4, 5 to 22 and 23 to 24, and
merging has the layer of the block before it, though timm's names count it to the stage after. A ViT
of 12 blocks has layers 0 to 13. The rate at the peak is 1.25e-3 * 2048 / 512 = 5e-3 times the decay
of layers to the power of the layers above. Vectors and biases do not decay; nor, in fine-tuning a
Swin, what is learned of places; in pretraining that does, for its keywords are never found.
"""

import pytest

from tests.training.groups import NUM_CLASSES, PUBLISHED, groups_of, lines, recipes, record, short

pytestmark = pytest.mark.usefixtures("in_the_checkout")

TABLE = "attn.relative_position_bias_table"
# name -> layer, whether it decays in fine-tuning, and whether in pretraining (None: is not there)
OF_SWINS = {
    "patch_embed.proj.weight": (0, True, True),
    "patch_embed.norm.bias": (0, False, False),
    "layers.0.blocks.0.attn.qkv.weight": (1, True, True),
    f"layers.0.blocks.1.{TABLE}": (2, False, True),
    "layers.1.downsample.reduction.weight": (2, True, True),
    "layers.1.blocks.1.mlp.fc1.weight": (4, True, True),
    "layers.2.downsample.norm.weight": (4, False, False),
    "layers.2.blocks.0.norm1.weight": (5, False, False),
    f"layers.2.blocks.17.{TABLE}": (22, False, True),
    "layers.3.downsample.reduction.weight": (22, True, True),
    "layers.3.blocks.1.attn.proj.weight": (24, True, True),
    "layers.3.blocks.1.mlp.fc2.bias": (24, False, False),
    "norm.weight": (25, False, False),
    "head.weight": (25, True, None),
    "head.bias": (25, False, None),
}
OF_V2 = {
    "patch_embed.proj.weight": (0, True, True),
    "patch_embed.norm.weight": (0, False, False),
    "layers.0.blocks.0.attn.qkv.weight": (1, True, True),
    "layers.0.blocks.1.attn.q_bias": (2, False, False),
    "layers.0.blocks.1.attn.cpb_mlp.0.weight": (2, False, True),
    "layers.1.downsample.reduction.weight": (2, True, True),
    "layers.1.downsample.norm.bias": (2, False, False),
    "layers.2.blocks.0.attn.logit_scale": (5, False, True),
    "layers.2.blocks.17.attn.cpb_mlp.2.weight": (22, False, True),
    "layers.2.blocks.17.attn.cpb_mlp.0.bias": (22, False, False),
    "layers.3.downsample.norm.weight": (22, False, False),
    "layers.3.blocks.1.mlp.fc1.weight": (24, True, True),
    "layers.3.blocks.1.norm2.weight": (24, False, False),
    "norm.weight": (25, False, False),
    "head.weight": (25, True, None),
}
OF_VIT = {  # whose code exempts the class token alone; its tables are each block's in fine-tuning
    "cls_token": (0, False, False),
    "patch_embed.proj.weight": (0, True, True),
    "patch_embed.proj.bias": (0, False, False),
    f"blocks.0.{TABLE}": (1, True, None),
    "blocks.0.ls1.gamma": (1, False, False),
    "blocks.4.attn.qkv.weight": (5, True, True),
    "blocks.7.norm2.weight": (8, False, False),
    "blocks.11.attn.q_bias": (12, False, False),
    "blocks.11.mlp.fc2.weight": (12, True, True),
    "fc_norm.weight": (13, False, None),
    "head.weight": (13, True, None),
    "head.bias": (13, False, None),
}
# recipe of fine-tuning -> decay of layers, last layer, and what is worked out
BY_HAND = {
    "swin_base_simmim": (0.9, 25, OF_SWINS),
    "swin_base_simmim_800ep": (0.8, 25, OF_SWINS),
    "swin_large_simmim": (0.7, 25, OF_SWINS),
    "swinv2_base_simmim_800ep": (0.75, 25, OF_V2),
    "vit_base_simmim": (0.65, 13, OF_VIT),
}
# layer -> its rate at the peak, as numbers: 5e-3 times the product at its side
RATES = {
    "swin_base_simmim": {
        0: 3.5895e-4,  # 0.9^25 = 0.071790
        5: 6.0788e-4,  # 0.9^20 = 0.121577
        22: 3.6450e-3,  # 0.9^3 = 0.729
    },
    "swin_base_simmim_800ep": {
        0: 1.8889e-5,  # 0.8^25 = 0.0037779
        5: 5.7646e-5,  # 0.8^20 = 0.0115292
        22: 2.5600e-3,  # 0.8^3 = 0.512
    },
    "swin_large_simmim": {
        0: 6.7053e-7,  # 0.7^25 = 0.00013411: less than where the warm-up starts, 1e-6
        5: 3.9896e-6,  # 0.7^20 = 0.00079792
        22: 1.7150e-3,  # 0.7^3 = 0.343
    },
    "swinv2_base_simmim_800ep": {
        0: 3.7627e-6,  # 0.75^25 = 0.00075254
        5: 1.5856e-5,  # 0.75^20 = 0.00317121
        22: 2.1094e-3,  # 0.75^3 = 0.421875
    },
    "vit_base_simmim": {
        0: 1.8486e-5,  # 0.65^13 = 0.0036972
        5: 1.5932e-4,  # 0.65^8 = 0.0318645
        12: 3.2500e-3,  # 0.65
    },
}
every = pytest.mark.parametrize("name", PUBLISHED)


def by_name(groups):
    return {short(name): group for group in groups for name in group["param_names"]}


@pytest.mark.parametrize(("kind", "name"), [*recipes()], ids="-".join)
def test_groups_are_as_written_down(kind, name):
    written = record(kind, name).read_text("utf-8")
    assert "\n".join([*lines(kind, name), ""]) == written, "python -m tests.training.groups"


@every
def test_fine_tuning_is_as_worked_out_by_hand(name):
    decay, head, known = BY_HAND[name]
    groups, peak = groups_of("finetune", name)
    assert peak == pytest.approx(5e-3)
    found = by_name(groups)
    rates = {int(one["name"].split("_")[1]): peak * one["lr_scale"] for one in groups}
    assert {layer: rates[layer] for layer in RATES[name]} == pytest.approx(RATES[name], rel=1e-4)
    for parameter, (layer, decays, _) in known.items():
        group = found[parameter]
        assert group["name"].startswith(f"layer_{layer}_"), parameter
        assert group["weight_decay"] == (0.05 if decays else 0.0), parameter
        assert peak * group["lr_scale"] == pytest.approx(5e-3 * decay ** (head - layer)), parameter


@every
def test_pretraining_decays_as_worked_out_by_hand(name):
    groups, peak = groups_of("pretrain", PUBLISHED[name])
    assert peak == pytest.approx(8e-4 if "100ep" in PUBLISHED[name] else 4e-4)
    found = by_name(groups)
    for parameter, (_, _, decays) in BY_HAND[name][2].items():
        if decays is None:
            assert parameter not in found
        else:
            assert found[parameter]["weight_decay"] == (0.05 if decays else 0.0), parameter
    is_vit = name.startswith("vit")
    assert found["mask_token"]["weight_decay"] == (0.05 if is_vit else 0.0)
    if is_vit:
        assert found["rel_pos_bias.relative_position_bias_table"]["weight_decay"] == 0.05
    assert {group["lr_scale"] for group in groups} == {1.0}


@every
def test_every_parameter_follows_the_words_of_the_official_code(name):
    """No decay in fine-tuning: vectors, biases, and of a Swin names with a keyword."""
    keywords = () if name.startswith("vit") else (TABLE, "cpb_mlp", "logit_scale")
    groups, _ = groups_of("finetune", name)
    for group in groups:
        for parameter, one in zip(group["param_names"], group["params"], strict=True):
            exempt = one.ndim == 1 or parameter.endswith((".bias", "cls_token"))
            exempt = exempt or any(word in parameter for word in keywords)
            assert group["weight_decay"] == (0.0 if exempt else 0.05), parameter


def test_the_largest_layer_decay_is_that_of_the_page():
    """Section 9: the stem of Swin-L has 5e-3 * 0.7**25 = 6.7e-7, less than the rate at the end."""
    found = by_name(groups_of("finetune", "swin_large_simmim")[0])
    rate = 5e-3 * found["patch_embed.proj.weight"]["lr_scale"]
    assert rate == pytest.approx(6.7e-7, rel=1e-2)
    assert len(found["head.bias"]["params"][-1]) == NUM_CLASSES
