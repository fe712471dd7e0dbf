import pytest
import safetensors.torch
import torch
import transformers

from ssl_swin.models.simmim import SimMIM
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder

SIZES = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "window_size": 8}
LAYERS = {"depths": [2, 2], "num_heads": [2, 4], "encoder_stride": 8}


@pytest.fixture(scope="module")
def build():
    def made(kind, config=transformers.SwinConfig, **changes):
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config(**(SIZES | LAYERS | changes))).eval()
        with torch.no_grad():  # many start at zero
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        return model

    return made


def written(model, folder, how):
    """Write a model as its library does, as releases before 5 did, or as people do."""
    if how == "save_pretrained":
        model.save_pretrained(folder)
        return folder
    if how == "bin":
        model.save_pretrained(folder)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    torch.save(model.state_dict(), folder / "state.pt")
    return folder / "state.pt"


WAYS = ["save_pretrained", "bin", "state_dict"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("kind", "dropped"),
    [("SwinModel", ()), ("SwinForImageClassification", ("classifier.bias", "classifier.weight"))],
)
def test_the_swin_of_transformers_computes_the_same_features_here(
    build, tmp_path, how, kind, dropped
):
    theirs = build(kind)
    opened = open_encoder(written(theirs, tmp_path, how))
    bare = theirs if kind == "SwinModel" else theirs.swin
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = bare(images).last_hidden_state  # (batch, positions, channels)
        found = opened.encoder.eval()(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert opened.report.kind == "the Swin of transformers"
    assert tuple(sorted(opened.report.dropped)) == dropped
    assert opened.report.missing == ("mask_token",)
    assert opened.img_size == (64, 64)


@pytest.mark.parametrize("how", WAYS)
def test_simmim_of_transformers_has_the_same_loss_here(build, tmp_path, how):
    theirs = build("SwinForMaskedImageModeling")
    opened = open_encoder(written(theirs, tmp_path, how))
    assert opened.report.missing == ()
    assert tuple(sorted(opened.report.dropped)) == ("decoder.0.bias", "decoder.0.weight")
    ours = SimMIM(opened.encoder, 8).eval()
    ours.decoder.conv.load_state_dict(theirs.decoder[0].state_dict())
    images = torch.randn(3, 3, 64, 64)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask.view(3, -1)[:, torch.randperm(64)[:38]] = True
    tokens = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        expected = theirs(images, bool_masked_pos=tokens.flatten(1))
        rebuilt = ours.decoder(ours.encoder(images, tokens))
        loss = ours(images, mask)
    torch.testing.assert_close(rebuilt, expected.reconstruction, rtol=0, atol=1e-5)
    torch.testing.assert_close(loss, expected.loss, rtol=0, atol=1e-5)


def test_weights_come_back_bit_for_bit(build, tmp_path):
    theirs = build("SwinForMaskedImageModeling")
    opened = open_encoder(written(theirs, tmp_path, "save_pretrained"))
    own, block = opened.encoder.state_dict(), "encoder.layers.1.blocks.0.attention"
    bare = theirs.swin.state_dict()
    for number, letter in enumerate("qkv"):
        rows = own["backbone.layers.1.blocks.0.attn.qkv.weight"].chunk(3)[number]
        assert torch.equal(rows, bare[f"{block}.{letter}_proj.weight"])
    assert torch.equal(own["mask_token"], bare["embeddings.mask_token"])
    down = own["backbone.layers.1.downsample.reduction.weight"]
    assert torch.equal(down, bare["encoder.layers.0.downsample.reduction.weight"])


def test_what_is_computed_otherwise_is_refused(build, tmp_path):
    folder = written(build("SwinModel", hidden_act="relu"), tmp_path, "save_pretrained")
    with pytest.raises(PretrainedMismatch, match="hidden_act='relu', and encoders here have 'g"):
        find_weights(folder)
    folder = written(build("SwinModel", qkv_bias=False), tmp_path, "save_pretrained")
    with pytest.raises(PretrainedMismatch, match=r"missing: backbone.*attn\.qkv\.bias"):
        find_weights(folder)
