import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, SwinModel

import ssl_swin
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.export.handoff import open_handoff
from ssl_swin.pretrained.export.huggingface import misfit, to_huggingface
from tests.pretrained.export.runs import IMAGES, close, exported, ran, shown
from tests.pretrained.runs import MEAN, STD

# ours in theirs, written the other way round: what a way back in has to do
BACK = [
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    ("embeddings.position_embeddings", "absolute_pos_embed"),
    ("encoder.layers.", "layers."),
    ("attention.self.relative_position_bias_table", "attn.relative_position_bias_table"),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("layernorm.", "norm."),
]


def back(state, num_stages=2):
    """Published names -> ours."""
    ours, parts = {}, {}
    for name, value in state.items():
        for theirs, mine in BACK:
            name = name.replace(theirs, mine)
        for stage in range(num_stages, 0, -1):
            name = name.replace(f"layers.{stage - 1}.downsample", f"layers.{stage}.downsample")
        before, found, rest = name.partition(".attention.self.")
        if found:
            part, _, last = rest.partition(".")
            parts.setdefault(f"{before}.attn.qkv.{last}", {})[part] = value
        else:
            ours[f"backbone.{name}"] = value
    for name, three in parts.items():
        order = [three[part] for part in ("query", "key", "value")]
        ours[f"backbone.{name}"] = torch.cat(order)
    return ours


def test_transformers_opens_an_encoder(run, tmp_path, monkeypatch):
    folder = exported(run[0], "hf", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        found = model(IMAGES)
    close(found.pooler_output, run[1])
    maps = run[1](IMAGES).detach().flatten(2).transpose(1, 2)
    torch.testing.assert_close(found.last_hidden_state, maps, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [SwinModel, AutoModelForImageClassification])
def test_nothing_is_missing_and_nothing_left_over(finetuned, tmp_path, kind):
    part = "encoder" if kind is SwinModel else "classifier"
    source = finetuned[0] / "classifier.safetensors"
    folder = exported(source, "hf", tmp_path / "out", "--part", part)
    _, told = kind.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]


def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(finetuned, tmp_path, monkeypatch):
    folder = exported(finetuned[0], "hf", tmp_path / "out")
    model = ran(shown(folder), folder, monkeypatch)["model"]
    with torch.no_grad():
        close(model(IMAGES).logits, finetuned[1])
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "owl"}
    assert model.config.label2id["dog"] == 1


@pytest.mark.parametrize(
    "sizes", [{}, {"position": "both"}, {"in_chans": 1}, {"img_size": (64, 96)}, {"window_size": 8}]
)
def test_the_weights_go_back_bit_for_bit(tiny, tmp_path, sizes):
    encoder = tiny(**sizes)
    own, num = encoder.state_dict(), encoder.in_chans
    card = EncoderCard.of(encoder, MEAN[:num], STD[:num])
    write_encoder(tmp_path / "a.safetensors", own, card)
    folder = exported(tmp_path / "a.safetensors", "hf", tmp_path / "out")
    again = back(load_file(folder / "model.safetensors"))
    assert again.keys() == own.keys() - {"mask_token"}
    assert all(torch.equal(again[name], own[name]) for name in again)
    images = torch.randn(2, num, *encoder.img_size)
    with torch.no_grad():
        model = SwinModel.from_pretrained(folder).eval()
        close(model(images).pooler_output, encoder, images=images)


def test_images_are_made_ready_as_here(tiny, tmp_path):
    """Where it cuts off an even number of pixels; of an odd one transformers rounds otherwise."""
    encoder, source = tiny(), tmp_path / "a.safetensors"
    write_encoder(source, encoder.state_dict(), EncoderCard.of(encoder, MEAN, STD, crop_pct=0.8))
    folder = exported(source, "hf", tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(pixels).resize((300, 200), Image.Resampling.BICUBIC)
    preprocess = ssl_swin.load_encoder(source).preprocess
    processor = AutoImageProcessor.from_pretrained(folder)
    theirs = processor(image, return_tensors="pt").pixel_values
    ours = preprocess(image)
    assert theirs.shape == ours.shape
    levels = (theirs - ours).abs() * 255 * torch.tensor(STD).view(-1, 1, 1)
    assert levels.max() < 3
    assert levels.mean() < 0.5


def test_grey_images_stay_grey(tiny, tmp_path):
    encoder = tiny(in_chans=1)
    card = EncoderCard.of(encoder, (0.5,), (0.25,))
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    folder = exported(tmp_path / "a.safetensors", "hf", tmp_path / "out")
    image = Image.new("L", (100, 80), 51)
    found = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt").pixel_values
    assert found.shape == (1, 1, 64, 64)
    torch.testing.assert_close(found, torch.full_like(found, (51 / 255 - 0.5) / 0.25))


def test_images_of_many_channels_are_made_ready_as_it_says(tiny, tmp_path):
    encoder = tiny(in_chans=5)
    card = EncoderCard.of(encoder, (0.5,) * 5, (0.25,) * 5)
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    folder = exported(tmp_path / "a.safetensors", "hf", tmp_path / "out")
    (call,) = re.findall(r"processor\(images.*?\)", (folder / "README.md").read_text())
    processor = AutoImageProcessor.from_pretrained(folder)
    images = [np.full((80, 100, 5), 51, np.uint8)]
    found = eval(call, {"processor": processor, "images": images})["pixel_values"]
    assert found.shape == (1, 5, 64, 64)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"shift": "none"}, "model.shift=none"),
        ({"position": "absolute"}, "model.position=absolute"),
        ({"window_size": 5}, "which does not divide the 16 x 16 tokens of stage 1"),
        ({"window_size": (8, 4)}, "whose windows are 4 x 4 in stage 2, not 8 x 8"),
        ({"window_size": 16}, "whose windows are 8 x 8 in stage 2, not 16 x 16"),
        ({"img_size": (32, 64)}, "as large as one side of the 4 x 8 tokens of stage 2"),
    ],
)
def test_what_transformers_has_not_is_named(tiny, tmp_path, sizes, told):
    encoder = tiny(**sizes)
    card = EncoderCard.of(encoder, MEAN, STD)
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    assert told in misfit(open_handoff(str(tmp_path / "a.safetensors")))


def test_published_names_are_written(tiny):
    names = to_huggingface(tiny().state_dict())
    assert "encoder.layers.0.blocks.1.attention.self.query.weight" in names
    assert "encoder.layers.0.downsample.reduction.weight" in names
    assert "layernorm.weight" in names


def test_the_settings_are_what_a_hub_reads(finetuned, tmp_path):
    folder = exported(finetuned[0], "hf", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["SwinForImageClassification"]
    assert config["window_size"] == 4
