import numpy as np
import pytest
import torch

from ssl_swin.models.encoder import build_encoder
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.bias_tables import (
    ABREAST,
    GAP_PX,
    LESS,
    MARGIN_PX,
    MORE,
    TEXT_PX,
    BiasTables,
    draw_tables,
    last_tables,
)
from ssl_swin.training.board import Board
from tests.training.test_board import events
from tests.training.tiny import fit, learner


def test_each_stage_shows_its_last_block_with_a_square_for_each_head():
    encoder = build_encoder(
        "swin_tiny_patch4_window7_224", 32, 1, window_size=(2, 4), depths=(2, 1), num_heads=(1, 3),
        embed_dim=12,
    )  # fmt: skip
    name = "backbone.layers.0.blocks.1.attn.relative_position_bias_table"
    with torch.no_grad():
        encoder.get_parameter(name).copy_(torch.arange(9.0)[:, None])
    tables = last_tables(encoder)
    assert [*tables] == ["stage1, 1 head, window 2 x 2", "stage2, 3 heads, window 4 x 4"]
    first, second = tables.values()
    assert first.tolist() == np.arange(9.0).reshape(1, 3, 3).tolist()
    assert second.shape == (3, 7, 7)


def test_an_encoder_without_tables_has_no_picture():
    encoder = build_encoder("swin_tiny_patch4_window7_224", 32, 1, window_size=4, position="none")
    assert last_tables(encoder) == {}


@pytest.mark.parametrize("num", [1, ABREAST + 1])
def test_less_is_blue_more_is_red_and_one_scale_is_for_all(num):
    table = np.zeros((num, 3, 3))
    table[0, 0, 0], table[0, 2, 2] = -2.0, 2.0
    picture = np.asarray(draw_tables({"stage1": table, "stage2": table / 2}, "step 1"))
    top = 6 * TEXT_PX
    assert (picture[top, MARGIN_PX] == LESS).all()
    assert (picture[top + 71, MARGIN_PX + 71] == MORE).all()
    assert (picture[top + 36, MARGIN_PX + 36] == 255).all()  # 0 is white
    rows = -(-num // ABREAST)
    below = top + rows * (72 + GAP_PX) + 2 * TEXT_PX
    half = (255 + LESS) / 2
    assert np.abs(picture[below, MARGIN_PX] - half).max() <= 1


def test_a_picture_comes_with_each_panel_and_at_the_end(tmp_path):
    folder = RunFolder(tmp_path)
    fit(learner(), 3, BiasTables(2, 3), loggers=[Board(folder, 0)])
    assert [one.step for one in events(folder.train).Images("attention_bias")] == [2, 3]
