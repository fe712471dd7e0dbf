"""What is learned of places goes by rows and columns, not by how many places there are."""

import pytest
import torch
import transformers
from torch.nn import functional as F

from ssl_swin.pretrained.card import EncoderCard
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import load_into, open_encoder
from ssl_swin.pretrained.window import resize_table
from tests.pretrained.runs import MEAN, STD
from tests.pretrained.vits import moved, vit, written

TABLE = "backbone.blocks.0.attn.relative_position_bias_table"
FIRST = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
PLACES = "backbone.pos_embed"
SHAPES = [  # in pixels, of which 16 are a token: as many tokens, and others
    ((64, 64), (32, 128)),
    ((32, 128), (64, 64)),
    ((32, 128), (128, 32)),
    ((32, 128), (64, 256)),
    ((48, 64), (96, 128)),
]


def stretched(embedding, old, new):
    """Bicubic interpolation of an embedding's places, in plain lines."""
    places = embedding.unflatten(1, [side // 16 for side in old]).permute(0, 3, 1, 2)
    new = F.interpolate(places, size=[side // 16 for side in new], mode="bicubic")
    return new.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_an_embedding_is_resized_by_the_sides_on_the_card(tmp_path, old, new):
    encoder = vit(img_size=old)
    opened = open_encoder(written(encoder, tmp_path / "a.safetensors"), img_size=new)
    before, after = encoder.backbone.pos_embed, opened.encoder.state_dict()[PLACES]
    with torch.no_grad():
        assert torch.equal(after[:, :1], before[:, :1])
        torch.testing.assert_close(after[:, 1:], stretched(before[:, 1:], old, new))
    assert opened.report.resized == (PLACES,)
    assert opened.report.remarks == ()


def test_a_swins_embedding_goes_by_its_image_too(tiny, tmp_path):
    encoder = moved(tiny(img_size=48, position="both"))
    written(encoder, tmp_path / "a.safetensors")
    opened = open_encoder(tmp_path / "a.safetensors", img_size=(32, 72), window_size=(4, 3))
    assert "backbone.absolute_pos_embed" in opened.report.resized  # of 144 tokens, all three
    before = encoder.backbone.absolute_pos_embed.unflatten(1, (12, 12)).permute(0, 3, 1, 2)
    expected = F.interpolate(before, size=(8, 18), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(opened.encoder.backbone.absolute_pos_embed, expected)


@pytest.mark.parametrize("position", ["relative", "relative-shared"])
def test_tables_of_a_vit_go_by_its_grid(tmp_path, position):
    """8 x 8 tokens and 5 x 13 lie in 225 ways to one another, both."""
    encoder = vit(img_size=128, **(BEIT | {"position": position}))
    opened = open_encoder(written(encoder, tmp_path / "a.safetensors"), img_size=(80, 208))
    key = TABLE if position == "relative" else "backbone.rel_pos_bias.relative_position_bias_table"
    before, after = encoder.state_dict()[key], opened.encoder.state_dict()[key]
    assert torch.equal(after, torch.cat((resize_table(before[:-3], (5, 13)), before[-3:])))
    assert len(opened.report.resized) == (2 if position == "relative" else 1)


BEIT = {"position": "relative", "qkv_bias": "qv"}


@pytest.mark.parametrize(
    ("old", "new"), [((8, 8), (5, 13)), ((4, 6), (6, 4)), ((4, 6), (5, 6)), ((5, 13), (8, 8))]
)
def test_tables_of_a_swin_go_by_its_windows(tiny, tmp_path, old, new):
    encoder = moved(tiny(img_size=(80, 104), depths=(2,), num_heads=(2,), window_size=(old,)))
    written(encoder, tmp_path / "a.safetensors")
    opened = open_encoder(tmp_path / "a.safetensors", window_size=(new,))
    before, after = encoder.state_dict()[FIRST], opened.encoder.state_dict()[FIRST]
    assert torch.equal(after, resize_table(before, new, old))
    assert not torch.equal(after, before)
    assert len(opened.report.resized) == 2


def turned(table, old):
    """A table whose rows are columns."""
    rows, cols = (2 * side - 1 for side in old)
    return table.view(rows, cols, -1).transpose(0, 1).reshape(rows * cols, -1)


@pytest.mark.parametrize(("old", "new"), [((4, 6), (6, 4)), ((3, 7), (4, 4)), ((1, 5), (3, 5))])
def test_rows_and_columns_are_resized_alike(old, new):
    table = torch.randn((2 * old[0] - 1) * (2 * old[1] - 1), 2)
    found = turned(resize_table(table, new, old), new)
    expected = resize_table(turned(table, old), new[::-1], old[::-1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_window_of_one_row_has_the_same_bias_in_every_row():
    table = torch.randn(9, 2)
    found = resize_table(table, (3, 5), (1, 5)).view(5, 9, 2)
    torch.testing.assert_close(found, table.expand(5, 9, 2), rtol=1e-4, atol=1e-5)


def test_an_mlp_of_windows_as_large_but_of_other_sides_is_refused(tiny, tmp_path):
    encoder = tiny(img_size=(48, 96), mixer="mlp", window_size=((4, 6), (4, 6)))
    written(encoder, tmp_path / "a.safetensors")
    open_encoder(tmp_path / "a.safetensors", img_size=(96, 96))
    with pytest.raises(PretrainedMismatch, match=r"24 places \(4 x 6\), and here they have 24 \(6"):
        open_encoder(tmp_path / "a.safetensors", window_size=((6, 4), (6, 4)))


def test_the_config_of_transformers_says_the_sides(tmp_path):
    sizes = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"image_size": 64, "intermediate_size": 512}
    torch.manual_seed(0)
    theirs = moved(transformers.ViTModel(transformers.ViTConfig(**sizes)).eval())
    theirs.save_pretrained(tmp_path)
    encoder = open_encoder(tmp_path, img_size=(32, 128)).encoder.eval()
    images = torch.randn(1, 3, 32, 128)
    with torch.no_grad():
        expected = theirs(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        found = encoder(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_nobody_says_is_taken_for_a_square_or_for_what_is_asked_and_told(tiny, tmp_path):
    encoder = vit()
    torch.save(encoder.backbone.state_dict(), tmp_path / "a.pth")
    told = "embeddings of places are taken to be of images of {} tokens: nobody says"
    for img_size, sides, num in ((64, "4 x 4", 0), ((32, 128), "2 x 8", 0), (128, "4 x 4", 1)):
        opened = open_encoder(tmp_path / "a.pth", img_size=img_size)
        assert len(opened.report.resized) == num
        assert [one for one in opened.report.remarks if one.startswith(told.format(sides))]
    table = "tables of positions are taken to be of windows of {} tokens: nobody says"
    encoder = moved(tiny(img_size=(80, 104), depths=(2,), num_heads=(2,), window_size=((8, 8),)))
    torch.save(encoder.backbone.state_dict(), tmp_path / "b.pth")
    for window, sides, num in (((5, 13), "5 x 13", 0), ((4, 4), "8 x 8", 2)):
        sizes = {"img_size": (80, 104), "window_size": (window,)}
        opened = open_encoder(tmp_path / "b.pth", **sizes)
        assert len(opened.report.resized) == num
        assert [one for one in opened.report.remarks if one.startswith(table.format(sides))]


def test_weights_that_are_none_of_what_is_said_are_taken_for_squares(tiny):
    encoder, larger = (moved(tiny(img_size=side, position="both")) for side in (48, 96))
    card = EncoderCard.of(tiny(img_size=32, position="both"), MEAN, STD)
    report = load_into(larger, encoder.state_dict(), card)
    assert "backbone.absolute_pos_embed" in report.resized
    assert ["12 x 12" in one for one in report.remarks] == [True]
