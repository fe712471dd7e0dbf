"""The pictures of docs/swin.md show what the network does; see `docs/pictures/draw_swin.py`."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.windows import split_into_windows

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
NAME = "swin_tiny_patch4_window7_224"
SMALL = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2)}


@pytest.fixture(scope="module")
def drawn():
    sys.path.insert(0, str(PICTURES))
    yield importlib.import_module("draw_swin")
    sys.path.remove(str(PICTURES))


@pytest.fixture(scope="module")
def encoder():
    """Windows of 4 on 8 x 8 tokens, and tables that are no noise."""
    torch.manual_seed(0)
    encoder = build_encoder(NAME, 32, 1, window_size=4, **SMALL)
    with torch.no_grad():
        for block in encoder.blocks():
            block.attn.relative_position_bias_table.normal_()
    return encoder


def tile(picture, number, side, gap=20, top=24):
    """The pixels of one of the pictures that `abreast` puts side by side."""
    left = 2 + number * (side + gap)
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def test_the_mask_shown_is_what_the_block_sees(drawn, encoder):
    block, cell = encoder.blocks()[1], 6
    picture = drawn.mask(encoder, cell)
    x = torch.randn(4, 16, 8, requires_grad=True)
    out = block.attn(x, block.attn_mask)[3].sum(1)
    seen = [torch.autograd.grad(one, x, retain_graph=True)[0][3].any(1).tolist() for one in out]
    middles = np.arange(16) * cell + cell // 2
    shown = tile(picture, 1, 16 * cell)[np.ix_(middles, middles)]
    assert (shown.min(-1) == 255).tolist() == seen
    assert 0 < np.sum(seen) < 256
    table = tile(picture, 2, 16 * cell)[np.ix_(middles, middles)]
    assert ((table == importlib.import_module("tiles").DARK).all(-1) != np.array(seen)).all()


def test_both_ways_to_compute_a_shift_have_the_same_pieces(drawn):
    grid, window = (12, 12), (6, 6)
    ways = [split_into_windows(grid, window, (3, 3), kind) for kind in ("cyclic", "padded")]
    pieces = [drawn.piece_of(one) for one in ways]
    assert np.array_equal(*pieces)
    sides = np.repeat([0, 1, 2], [3, 6, 3])
    assert pieces[0][:-1].tolist() == (3 * sides[:, None] + sides).ravel().tolist()
    assert drawn.window_of(ways[0]).max() + 1 == 4


def test_tables_are_shown_as_seen_from_the_token_in_the_middle(drawn, encoder):
    for block in encoder.blocks():
        shown, (rows, cols) = drawn.displaced(block), block.window_size
        bias = block.attn.bias()[0].detach().numpy()
        for looks, seen in np.ndindex(bias.shape[1:]):
            down, right = (seen // cols - looks // cols), (seen % cols - looks % cols)
            at = (slice(None), rows - 1 + down, cols - 1 + right)
            assert np.array_equal(shown[at], bias[:, looks, seen])
    assert drawn.bias_tables(encoder, 21).width > 3 * 21


@pytest.mark.usefixtures("drawn")
def test_cost_is_counted_as_the_paper_says():
    costs = importlib.import_module("swin_cost")
    swin = build_encoder(NAME, 64, 3, window_size=4, **SMALL)
    wide = build_encoder(NAME, 64, 3, window_size=16, **SMALL)
    large = build_encoder(NAME, 128, 3, window_size=4, **SMALL)
    extra = costs.for_all_to_see_all(swin)
    counted = costs.flops(swin, 64)
    assert extra > 0
    assert costs.flops(wide, 64) == counted + extra
    assert costs.flops(large, 128) == 4 * counted
    vit = {"model_name": "deit_tiny_patch16_224", "depth": 1, "num_classes": 0}
    ones = {side: timm.create_model(img_size=side, **vit) for side in (224, 448)}
    assert costs.flops(ones[448], 448) > 4 * costs.flops(ones[224], 224)
    points = [(224, 9.0), (448, 45.0), (672, 133.0)]
    names = (costs.SWIN, costs.VIT, costs.GLOBAL)
    assert costs.chart(dict.fromkeys(names, points)).width > 700


def test_what_is_shipped_is_what_is_drawn(drawn):
    page = (ROOT / "docs" / "swin.md").read_text(encoding="utf-8")
    shipped = {path.stem: path for path in PICTURES.glob("swin_*.png")}
    assert {*re.findall(r"pictures/(swin_\w+)\.png", page)} == shipped.keys()
    assert all(path.stat().st_size < 60_000 for path in shipped.values())
    with torch.device("meta"):
        encoder = build_encoder(NAME, 192, 3, window_size=6)
    for name, picture in (
        ("stages", drawn.stages(encoder)),
        ("shift", drawn.shift((12, 12), (6, 6))),
    ):
        there = Image.open(shipped[f"swin_{name}"]).convert("RGB")
        assert there.size == picture.size
        apart = np.abs(np.asarray(there).astype(int) - np.asarray(picture))
        assert apart.mean() < 2  # letters may differ from one FreeType to another
