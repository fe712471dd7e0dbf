"""ViTs of other libraries come in: made by the library itself, but for mmpretrain and SimMIM."""

import pytest
import timm
import torch
import torchvision
import transformers

from ssl_swin.models.simmim import SimMIM
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, load_into, open_encoder
from ssl_swin.pretrained.timm_vit import in_beit
from ssl_swin.pretrained.window import resize_table
from tests.pretrained.vits import IMAGES, PRETRAINED, TUNED, moved, vit

HF = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64}
HF |= {"intermediate_size": 512}
BEIT = HF | {"use_relative_position_bias": True, "use_mean_pooling": True}


def tokens_of(encoder):
    with torch.no_grad():
        return encoder.eval()(IMAGES).flatten(2).transpose(1, 2)


def transformers_vit(**more):
    torch.manual_seed(0)
    return moved(
        transformers.ViTForMaskedImageModeling(transformers.ViTConfig(**(HF | more)))
    ).eval()


@pytest.mark.parametrize("how", ["save_pretrained", "state_dict"])
def test_the_vit_of_transformers_computes_the_same_here_and_has_the_same_loss(tmp_path, how):
    theirs = transformers_vit()
    if how == "save_pretrained":
        theirs.save_pretrained(tmp_path)
    else:
        torch.save(theirs.state_dict(), tmp_path / "state.pt")
    opened = open_encoder(tmp_path if how == "save_pretrained" else tmp_path / "state.pt")
    mask = torch.tensor([[[1, 0], [0, 1]], [[1, 1], [0, 0]]]).bool()
    tokens = mask.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
    ours = SimMIM(opened.encoder, 32).eval()
    ours.decoder.conv.load_state_dict(theirs.decoder[0].state_dict())
    with torch.no_grad():
        expected = theirs.vit(IMAGES).last_hidden_state[:, 1:]
        torch.testing.assert_close(tokens_of(opened.encoder), expected, rtol=0, atol=1e-5)
        loss = theirs(IMAGES, bool_masked_pos=tokens).loss
        torch.testing.assert_close(ours(IMAGES, mask), loss, rtol=0, atol=1e-5)
    assert opened.report.kind == "the ViT of transformers"
    assert opened.report.missing == ()
    assert tuple(sorted(opened.report.dropped)) == ("decoder.0.bias", "decoder.0.weight")


@pytest.mark.parametrize("how", ["save_pretrained", "state_dict"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_beit_of_transformers_computes_the_same_here(tmp_path, how, shared):
    torch.manual_seed(0)
    which = {"use_relative_position_bias": not shared, "use_shared_relative_position_bias": shared}
    theirs = transformers.BeitModel(transformers.BeitConfig(**(BEIT | which))).eval()
    moved(theirs)
    if how == "save_pretrained":
        theirs.save_pretrained(tmp_path)
    else:
        torch.save(theirs.state_dict(), tmp_path / "state.pt")
    opened = open_encoder(tmp_path if how == "save_pretrained" else tmp_path / "state.pt")
    with torch.no_grad():
        expected, encoder = theirs(IMAGES).pooler_output, opened.encoder.eval()
        torch.testing.assert_close(encoder.pool(encoder(IMAGES)), expected, rtol=0, atol=1e-5)
    assert opened.report.kind == "the BEiT of transformers"
    assert encoder.architecture()["position"] == ("relative-shared" if shared else "relative")


def test_config_beside_weights_says_how_many_heads_and_what_is_computed_otherwise(tmp_path):
    transformers_vit(num_attention_heads=4).save_pretrained(tmp_path)
    assert open_encoder(tmp_path).encoder.architecture()["num_heads"] == [4]
    transformers_vit(hidden_act="relu").save_pretrained(tmp_path)
    with pytest.raises(PretrainedMismatch, match="hidden_act='relu', and encoders here have"):
        find_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "sizes", "kind"),
    [
        ("vit_base_patch16_224", {"class_token": False, "global_pool": "avg"}, "timm's ViT"),
        ("vit_base_patch16_224", {"init_values": 0.1}, "timm's ViT"),
        ("beit_base_patch16_224", {}, "a ViT as SimMIM's official code and timm's BEiT have it"),
    ],
)
@pytest.mark.parametrize("before", ["", "module.student."])
def test_timms_files_come_in(tmp_path, name, sizes, kind, before):
    torch.manual_seed(0)
    small = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 5}
    theirs = moved(timm.create_model(name, **small, **sizes).eval())
    torch.save({before + k: v for k, v in theirs.state_dict().items()}, tmp_path / "a.pth")
    opened = open_encoder(tmp_path / "a.pth")
    with torch.no_grad():
        expected = theirs.forward_features(IMAGES)[:, theirs.num_prefix_tokens :]
    torch.testing.assert_close(tokens_of(opened.encoder), expected, rtol=1e-5, atol=1e-5)
    assert opened.report.kind == kind
    assert opened.report.missing == ("mask_token",)
    bare = before.removeprefix("module.")
    assert opened.report.dropped == tuple(f"{before}head.{k}" for k in ("weight", "bias")), bare


def test_torchvisions_vit_comes_in(tmp_path):
    torch.manual_seed(0)
    theirs = moved(torchvision.models.VisionTransformer(64, 16, 2, 2, 128, 512).eval())
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    opened = open_encoder(tmp_path / "a.pth")
    with torch.no_grad():
        first = theirs.class_token.expand(2, -1, -1)
        x = theirs.encoder(torch.cat((first, theirs._process_input(IMAGES)), 1))
    torch.testing.assert_close(tokens_of(opened.encoder), x[:, 1:], rtol=0, atol=1e-5)
    assert opened.report.kind == "torchvision's ViT"
    assert opened.report.dropped == ("heads.head.weight", "heads.head.bias")


def test_mmpretrains_names_come_in(tmp_path):
    encoder, pairs = vit(init_values=0.1), {".norm1.": ".ln1.", ".norm2.": ".ln2."}
    pairs |= {".mlp.fc1.": ".ffn.layers.0.0.", ".mlp.fc2.": ".ffn.layers.1.", "blocks.": "layers."}
    pairs |= {"ls1.gamma": "attn.gamma1.weight", "ls2.gamma": "ffn.gamma2.weight"}
    pairs |= {"patch_embed.proj.": "patch_embed.projection."}
    state = {}
    for name, value in encoder.backbone.state_dict().items():
        for ours, theirs in pairs.items():
            name = name.replace(ours, theirs)
        state[f"backbone.{name.replace('norm.', 'ln1.')}"] = value
    torch.save({"state_dict": state | {"head.fc.weight": torch.zeros(2, 128)}}, tmp_path / "a.pth")
    opened = open_encoder(tmp_path / "a.pth")
    own = opened.encoder.state_dict()
    assert opened.report.kind == "mmpretrain's ViT"
    assert opened.report.dropped == ("state_dict.head.fc.weight",)
    for name, value in encoder.state_dict().items():
        assert name == "mask_token" or torch.equal(own[name], value), name


@pytest.fixture
def official(tmp_path):
    """A checkpoint as SimMIM's pretraining of a ViT writes it, and the encoder."""
    encoder = vit(**PRETRAINED)
    state = {
        f"encoder.{in_beit(name.removeprefix('backbone.'))}": value
        for name, value in encoder.state_dict().items()
    }
    index = {"encoder.rel_pos_bias.relative_position_index": torch.zeros(17, 17)}
    decoder = {"decoder.0.weight": torch.zeros(768, 128, 1, 1), "decoder.0.bias": torch.zeros(768)}
    torch.save({"model": state | index | decoder, "epoch": 799}, tmp_path / "ckpt.pth")
    return tmp_path / "ckpt.pth", encoder


def test_simmims_checkpoint_comes_in_whole_and_the_decoder_is_left_out(official):
    path, encoder = official
    opened = open_encoder(path)
    own = opened.encoder.state_dict()
    assert all(torch.equal(own[name], one) for name, one in encoder.state_dict().items())
    assert opened.report.missing == ()
    assert opened.report.dropped == ("model.decoder.0.weight", "model.decoder.0.bias")
    assert ("blocks.0.gamma_1", "backbone.blocks.0.ls1.gamma") in opened.report.remapped
    sizes = encoder.architecture() | {"name": opened.encoder.name}
    assert opened.encoder.architecture() == sizes


def test_fine_tuning_begins_with_it_at_another_size_as_in_the_official_code(official):
    """The shared table is each block's, resized on the official grid; class token's rows stay."""
    path, encoder = official
    changes = {"img_size": 96, "position": "relative", "fc_norm": True}
    opened = open_encoder(path, **changes)
    own = opened.encoder.state_dict()
    table = encoder.state_dict()["backbone.rel_pos_bias.relative_position_bias_table"]
    expected = torch.cat((resize_table(table[:-3], 6), table[-3:]))
    for block in range(2):
        found = own[f"backbone.blocks.{block}.attn.relative_position_bias_table"]
        assert torch.equal(found, expected)
    assert (own["backbone.fc_norm.weight"] == 1).all()
    assert (own["backbone.fc_norm.bias"] == 0).all()
    assert len(opened.report.resized) == 2
    assert any("each block's" in one for one in opened.report.remarks)
    assert any("starts anew" in one for one in opened.report.remarks)


def test_embeddings_of_places_are_resized_and_the_class_tokens_stays(tmp_path):
    encoder = vit()
    torch.save(encoder.backbone.state_dict(), tmp_path / "a.pth")
    own = open_encoder(tmp_path / "a.pth", img_size=(64, 128)).encoder.state_dict()
    before = encoder.state_dict()["backbone.pos_embed"]
    after = own["backbone.pos_embed"]
    assert after.shape == (1, 1 + 4 * 8, 128)
    assert torch.equal(after[:, 0], before[:, 0])
    same = open_encoder(tmp_path / "a.pth").encoder.state_dict()["backbone.pos_embed"]
    assert torch.equal(same, before)


def test_features_of_a_larger_image_stay_alike():
    """Tables and embeddings are resized: an image twice as large means nearly the same."""
    for changes in ({}, {"position": "relative", "qkv_bias": "qv"}):
        encoder = vit(**changes)
        larger = vit(**changes, img_size=128)
        state = encoder.state_dict()
        load_into(larger, state)
        smooth = torch.nn.functional.interpolate(torch.randn(1, 3, 4, 4), 64, mode="bicubic")
        with torch.no_grad():
            one = encoder(smooth).mean((2, 3))
            two = larger(torch.nn.functional.interpolate(smooth, 128, mode="bicubic")).mean((2, 3))
        assert torch.cosine_similarity(one, two).item() > 0.8


def test_what_a_vit_here_has_not_is_refused_by_name(official, tmp_path):
    state = vit().backbone.state_dict()
    for more, told in (
        ({"reg_token": torch.zeros(1, 4, 128)}, r"unknown: backbone\.reg_token"),
        ({"norm_pre.weight": torch.zeros(128)}, r"unknown: backbone\.norm_pre\.weight"),
        ({"blocks.1.attn.q_norm.weight": torch.zeros(64)}, r"unknown: backbone\.blocks\.1"),
        ({"blocks.7.norm1.weight": torch.zeros(128)}, "not numbered from 0 without a gap"),
        ({"pos_embed": torch.zeros(1, 15, 128)}, "an embedding of 15 tokens is of no square im"),
        ({"pos_embed": torch.zeros(1, 1 + 2048**2, 1)}, "or of one too large to be a ViT's"),
        ({"patch_embed.proj.weight": torch.zeros(63, 3, 16, 16)}, "says how many heads its 63 ch"),
        ({"patch_embed.proj.weight": torch.zeros(128, 3, 16)}, "in a ViT it has 4 axes"),
    ):
        torch.save(state | more, tmp_path / "a.pth")
        with pytest.raises(PretrainedMismatch, match=told) as caught:
            find_weights(tmp_path / "a.pth")
        assert "\n" not in str(caught.value)
    with pytest.raises(PretrainedMismatch, match=r"backbone\.pos_embed"):
        open_encoder(official[0], position="absolute")


def test_the_mask_token_of_maes_decoder_is_left_there(tmp_path):
    more = {"mask_token": torch.zeros(1, 1, 64), "decoder_blocks.0.norm1.weight": torch.zeros(64)}
    torch.save({"model": vit().backbone.state_dict() | more}, tmp_path / "a.pth")
    opened = open_encoder(tmp_path / "a.pth")
    assert opened.report.kind == "MAE's ViT"
    assert "model.mask_token" in opened.report.dropped
    assert opened.report.missing == ("mask_token",)


def test_our_own_state_without_a_card_is_known(tmp_path):
    encoder = vit(**TUNED)
    state = {f"model.network.encoder.{name}": one for name, one in encoder.state_dict().items()}
    torch.save(state, tmp_path / "a.ckpt")
    opened = open_encoder(tmp_path / "a.ckpt")
    assert opened.report.kind == "our ViT without a card"
    own = opened.encoder.state_dict()
    assert all(torch.equal(own[name], one) for name, one in encoder.state_dict().items())
