import pytest

from ssl_swin.errors import UserError
from ssl_swin.models.vit_choices import vit_kind, vit_sizes

BASE = {
    "patch_size": 16,
    "embed_dim": 768,
    "depths": (12,),
    "num_heads": (12,),
    "position": "absolute",
    "class_token": True,
    "qkv_bias": "qkv",
    "init_values": 0.0,
    "fc_norm": False,
    "norm_eps": 1e-6,
}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("vit_base_patch16_224", {}),
        ("vit_base_patch16_224.augreg_in21k", {}),
        ("vit_tiny_patch16_224", {"embed_dim": 192, "num_heads": (3,)}),
        (
            "beit_base_patch16_224",
            {"position": "relative", "qkv_bias": "qv", "init_values": 0.1, "fc_norm": True},
        ),
    ],
)
def test_what_is_not_given_is_timms_of_the_name(name, other):
    assert vit_sizes(name, {"patch_size": None}) == BASE | other


@pytest.mark.parametrize("depths", [3, (3,), [3]])
def test_a_vit_is_one_stage_and_a_number_will_do(depths):
    assert vit_sizes("vit_tiny_patch16_224", {"depths": depths})["depths"] == (3,)


def test_scales_can_be_left_out_of_a_name_that_has_them():
    assert vit_sizes("beit_base_patch16_224", {"init_values": 0})["init_values"] == 0


@pytest.mark.parametrize(
    ("position", "absolute", "relative", "shared"),
    [
        ("absolute", True, False, False),
        ("relative", False, True, False),
        ("relative-shared", False, False, True),
        ("both", True, True, False),
        ("none", False, False, False),
    ],
)
def test_each_position_is_what_it_says(position, absolute, relative, shared):
    kind = vit_kind(BASE | {"position": position})
    assert (kind.absolute, kind.relative, kind.shared) == (absolute, relative, shared)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"qkv_bias": "k"}, "qkv_bias='k' must be one of qkv, qv, none"),
        ({"class_token": "no"}, "class_token='no' must be one of True, False"),
        ({"shift": "none"}, "a ViT has no shift; it takes only patch_size"),
        ({"num_heads": (1, 2)}, "has 2 values, and a ViT is one stage: give one"),
        ({"norm_eps": 0.0}, r"norm_eps=0\.0 must lie in \(0, 0\.001\]"),
        ({"patch_size": 0}, "patch_size=0, .*each must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(given, told):
    with pytest.raises(UserError, match=told):
        vit_sizes("vit_tiny_patch16_224", given)
