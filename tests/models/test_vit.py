import pytest
import timm
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.blocks import fuse_attention
from ssl_swin.models.encoder import ENCODERS, build_encoder, pooled
from ssl_swin.models.freezing import freeze
from ssl_swin.models.vit import ViTEncoder
from ssl_swin.pretrained.timm_vit import from_timm_vit

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depths": (4,), "num_heads": (2,)}
OFFICIAL = {"position": "relative-shared", "qkv_bias": "qv", "init_values": 0.1}
TUNED = OFFICIAL | {"position": "relative", "fc_norm": True}


def vit(**changes):
    torch.manual_seed(0)
    return ViTEncoder("vit_base_patch16_224", **(SIZES | changes))


def theirs(name, **changes):
    """A model of timm, with weights that are all other than at the start."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
    model = timm.create_model(name, num_classes=0, **(sizes | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


BEIT = {"use_abs_pos_emb": False, "use_rel_pos_bias": False}
KINDS = {  # timm's, what it is there, what it is here
    "vit": ("vit_base_patch16_224", {"global_pool": "avg", "fc_norm": False}, {}),
    "with fc_norm": ("vit_base_patch16_224", {"global_pool": "avg"}, {"fc_norm": True}),
    "no class token": (
        "vit_base_patch16_224",
        {"global_pool": "avg", "fc_norm": False, "class_token": False, "init_values": 0.3},
        {"class_token": False, "init_values": 0.3},
    ),
    "no positions, not square": (
        "vit_base_patch16_224",
        {"global_pool": "avg", "fc_norm": False, "pos_embed": "none", "img_size": (32, 48)},
        {"position": "none", "img_size": (32, 48)},
    ),
    "no biases, grey": (
        "vit_base_patch16_224",
        {"global_pool": "avg", "fc_norm": False, "qkv_bias": False, "in_chans": 1},
        {"qkv_bias": "none", "in_chans": 1},
    ),
    "SimMIM, pretraining": (
        "beit_base_patch16_224",
        BEIT | {"use_shared_rel_pos_bias": True, "use_fc_norm": False, "init_values": 0.1},
        OFFICIAL,
    ),
    "SimMIM, fine-tuning, not square": (
        "beit_base_patch16_224",
        BEIT | {"use_rel_pos_bias": True, "img_size": (48, 32)},
        TUNED | {"img_size": (48, 32)},
    ),
    "both": (
        "beit_base_patch16_224",
        {"use_abs_pos_emb": True, "use_fc_norm": False, "init_values": 0.0},
        {"position": "both", "qkv_bias": "qv"},
    ),
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_hidden_maps_and_vectors_are_timms(kind, fused):
    name, there, here = KINDS[kind]
    model, encoder = theirs(name, **there), vit(**here).eval()
    state = from_timm_vit(model.state_dict())
    encoder.load_state_dict(state | {"mask_token": encoder.mask_token})
    fuse_attention(encoder, fused)
    images = torch.randn(2, encoder.in_chans, *encoder.img_size)
    nothing = torch.zeros(2, *encoder.backbone.grid).bool()
    with torch.no_grad():
        tokens = model.forward_features(images)[:, encoder.backbone.num_prefix_tokens :]
        maps = tokens.transpose(1, 2).unflatten(2, encoder.backbone.grid)
        torch.testing.assert_close(encoder(images), maps, rtol=0, atol=1e-5)
        assert torch.equal(encoder(images, nothing), encoder(images))
        if there.get("use_fc_norm", True):
            vectors = pooled(encoder, encoder(images))
            torch.testing.assert_close(vectors, model(images), rtol=0, atol=1e-5)


def test_stages_are_quarters_of_the_blocks_and_timms():
    model = theirs("vit_base_patch16_224", depth=6)
    encoder = vit(depths=(6,)).eval()
    encoder.load_state_dict(from_timm_vit(model.state_dict()) | {"mask_token": encoder.mask_token})
    images = torch.randn(2, 3, 32, 32)
    assert encoder.backbone.last_blocks == [0, 2, 3, 5]
    with torch.no_grad():
        stages = encoder.stages(images)
        expected = model.forward_intermediates(
            images, indices=[0, 2, 3, 5], intermediates_only=True
        )
        for one, other in zip(stages, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder.finish(stages[-1]), encoder(images), rtol=0, atol=1e-6)
    assert vit(depths=(12,)).backbone.last_blocks == [2, 5, 8, 11]
    assert vit(depths=(2,)).backbone.last_blocks == [0, 1]
    assert encoder.stage_of("backbone.blocks.1.norm1.weight") == "stage2"


@pytest.mark.parametrize("position", ["absolute", "relative-shared", "relative", "both", "none"])
def test_the_encoder_does_not_see_what_is_hidden(position):
    encoder = vit(position=position).eval()
    images, hidden = torch.randn(2, 3, 32, 32), torch.rand(2, 4, 4) < 0.5
    pixels = hidden.repeat_interleave(8, 1).repeat_interleave(8, 2).unsqueeze(1)
    changed = torch.where(pixels, torch.full_like(images, 9.0), images)
    with torch.no_grad():
        assert torch.equal(encoder(images, hidden), encoder(changed, hidden))
        assert not torch.equal(encoder(images), encoder(changed))


def test_checkpointing_blocks_changes_no_bit():
    encoder, images = vit(drop_path_rate=0.5, **OFFICIAL), torch.randn(2, 3, 32, 32)
    grads = []
    for on in (False, True):
        encoder.zero_grad()
        encoder.set_grad_checkpointing(on)
        torch.manual_seed(1)
        encoder(images).square().sum().backward()
        grads.append([one.grad for one in encoder.parameters() if one.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_stages_freeze_and_a_shared_table_with_the_stem():
    encoder = vit(**OFFICIAL)
    freeze(encoder, 1)
    frozen = {name for name, one in encoder.named_parameters() if not one.requires_grad}
    table = "backbone.rel_pos_bias.relative_position_bias_table"
    assert {"mask_token", "backbone.cls_token", table} <= frozen
    blocks = {name for name in frozen if ".blocks." in name}
    assert {name.split(".")[2] for name in blocks} == {"0"}


@pytest.mark.parametrize("change", [{}, OFFICIAL, TUNED | {"img_size": (32, 48)}])
def test_the_architecture_rebuilds_the_encoder(change):
    encoder = vit(drop_path_rate=0.1, **change).eval()
    again = build_encoder(**encoder.architecture()).eval()
    again.load_state_dict(encoder.state_dict())
    assert again.architecture() == encoder.architecture()
    images = torch.randn(1, 3, *encoder.img_size)
    with torch.no_grad():
        assert torch.equal(again(images), encoder(images))


def test_a_shared_table_becomes_each_blocks_and_the_norm_another():
    shared, own = vit(**OFFICIAL).state_dict(), vit(**TUNED)
    state, said = own.adapted(shared)
    assert state.keys() == own.state_dict().keys()
    table = shared["backbone.rel_pos_bias.relative_position_bias_table"]
    for block in range(4):
        mine = state[f"backbone.blocks.{block}.attn.relative_position_bias_table"]
        assert torch.equal(mine, table)
    assert (state["backbone.fc_norm.weight"] == 1).all()
    assert len(said) == 2
    same, said = own.adapted(own.state_dict())
    assert said == ()
    assert all(torch.equal(same[name], one) for name, one in own.state_dict().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"img_size": 30}, "not a multiple of 8 pixels"),
        ({"num_heads": (3,)}, "num_heads=3 does not divide the 16 channels"),
        ({"depths": (2, 2)}, "depths=.2, 2. has 2 values, and a ViT is one stage"),
        ({"depths": (0,)}, "each must be at least 1"),
        ({"position": "padded"}, "position='padded' must be one of absolute, relative, rel"),
        ({"init_values": 2.0}, r"init_values=2\.0 must lie in \[0, 1\]"),
        ({"window_size": 7}, "a ViT has no window_size; it takes only patch_size, embed_dim"),
    ],
)
def test_what_cannot_be_built_is_refused(change, told):
    with pytest.raises(UserError, match=told):
        vit(**change)


def test_images_of_another_size_and_parameters_of_others_are_refused():
    with pytest.raises(ValueError, match="this encoder takes"):
        vit()(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="belongs to no known layer of a ViT"):
        vit().layer_of("backbone.layers.0.norm.weight")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, kind in ENCODERS.items() if kind is ViTEncoder])
def test_every_name_has_the_parameters_that_timm_has(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
        size = model.patch_embed.img_size
        encoder = build_encoder(name, size, 3)
    found = {k: v.shape for k, v in from_timm_vit(model.state_dict()).items()}
    own = encoder.state_dict()
    assert {k: v.shape for k, v in own.items() if k != "mask_token"} == found
