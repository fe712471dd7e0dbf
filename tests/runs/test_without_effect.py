from dataclasses import replace
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.config.data import DataConfig
from ssl_swin.config.model import (
    DecoderConfig,
    HeadConfig,
    MaskConfig,
    ProgressiveConfig,
    TargetConfig,
)
from ssl_swin.config.run import PretrainConfig
from ssl_swin.runs.without_effect import without_effect

CONFIG = PretrainConfig("run", DataConfig("shards"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"decoder": DecoderConfig(dim=64, depth=2, num_heads=4, positions="sin-cos")},
            "decoder.dim=64 beside decoder.kind=linear, decoder.depth=2 beside decoder.kind=linear,"
            " decoder.num_heads=4 beside decoder.kind=linear, "
            "decoder.positions=sin-cos beside decoder.kind=linear",
        ),
        ({"loss_beta": 0.5}, "loss_beta=0.5 beside loss l1"),
        (
            {"loss_beta": 0.5, "heads": (HeadConfig(2, loss="l2"), HeadConfig(1))},
            "loss_beta=0.5 beside loss l1 and l2",
        ),
        (
            {"heads": (HeadConfig(2, cell_size=4), HeadConfig(1, decoder_dim=32))},
            "heads[0].cell_size=4 beside target pixels, "
            "heads[1].decoder_dim=32 beside decoder.kind=linear",
        ),
        (
            {"heads": (HeadConfig(2, where="hidden"),), "mask": MaskConfig("none")},
            "heads[0].where=hidden beside mask.kind=none",
        ),
        ({"target": TargetConfig(cell_size=4)}, "target.cell_size=4 beside target pixels"),
        ({"target": TargetConfig("hog", norm_size=9)}, "target.norm_size=9 beside target hog"),
        (
            {"target": TargetConfig("hog", teacher_img_size=96, teacher_stage=2)},
            "target.teacher_img_size=96 beside target hog, "
            "target.teacher_stage=2 beside target hog",
        ),
        (
            {
                "target": TargetConfig("teacher_pooled", where="everywhere"),
                "decoder": DecoderConfig("transformer", dim=64),
            },
            "target.where=everywhere beside target teacher_pooled, "
            "decoder.kind=transformer beside target teacher_pooled, "
            "decoder.dim=64 beside target teacher_pooled",
        ),
        (
            {
                "target": TargetConfig(cell_size=4, where="everywhere"),
                "decoder": DecoderConfig("transformer", dim=64),
                "heads": (
                    HeadConfig(2, "hog", cell_size=8, where="hidden", decoder_dim=32),
                    HeadConfig(1, where="everywhere", decoder_dim=16),
                ),
            },
            "target.cell_size=4 beside heads, each of which has its own, "
            "target.where=everywhere beside heads, each of which has its own, "
            "decoder.dim=64 beside heads, each of which has its own",
        ),
        (
            {"progressive": (ProgressiveConfig(1, (192, 192)),)},
            "progressive[0].img_size=(192, 192) beside as large a model.img_size",
        ),
        (
            {
                "decoder": DecoderConfig("transformer"),
                "heads": (
                    HeadConfig(2, "teacher_pooled", decoder_dim=32, where="hidden"),
                    HeadConfig(1),
                ),
            },
            "heads[0].decoder_dim=32 beside target teacher_pooled, "
            "heads[0].where=hidden beside target teacher_pooled",
        ),
    ],
)
def test_what_changes_nothing_is_named_with_what_it_stands_beside(change, said):
    told = without_effect(replace(CONFIG, **change))
    assert told == f"warning: without effect, so leave them out: {said}"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"decoder": DecoderConfig("transformer", 64, 2, 4, "sin-cos")},
        {"loss": "smooth_l1", "loss_beta": 2.0},
        {"heads": (HeadConfig(2, loss="smooth_l1"), HeadConfig(1)), "loss_beta": 2.0},
        {"heads": (HeadConfig(2, "hog", cell_size=4),), "target": TargetConfig(hog_bins=6)},
        {"heads": (HeadConfig(2, where="hidden"),)},
        {"target": TargetConfig("normalised_patches", cell_size=4)},
        {"target": TargetConfig("teacher_pooled", teacher_img_size=96, teacher_stage=2)},
        {
            "target": TargetConfig(where="everywhere"),
            "decoder": DecoderConfig("transformer", dim=64),
            "heads": (HeadConfig(2, "teacher_pooled"), HeadConfig(1)),
        },
        {
            "target": TargetConfig(cell_size=4, where="everywhere"),
            "decoder": DecoderConfig("transformer", dim=64),
            "heads": (
                HeadConfig(2, "hog", cell_size=8, where="hidden", decoder_dim=32),
                HeadConfig(1, "hog"),
            ),
        },
    ],
)
def test_what_changes_something_is_not_named(change):
    assert without_effect(replace(CONFIG, **change)) is None


@pytest.mark.parametrize("path", sorted(Path("configs/pretrain").glob("*.yaml")), ids=str)
def test_no_shipped_config_says_anything_in_vain(path):
    assert without_effect(read_config("pretrain", [str(path)])[0]) is None


def test_a_run_says_it_once_when_it_begins(two_step_run, tmp_path, capsys):
    words = [*two_step_run[0], "--loss-beta=0.5", f"--run-dir={tmp_path / 'run'}"]
    told = "warning: without effect, so leave them out: loss_beta=0.5 beside loss l1\n"
    assert run([*words, "--dry-run"]) == 0
    assert told in capsys.readouterr().out
    assert run(words) == 0
    assert told in capsys.readouterr().out
    assert run(words) == 0
    assert told not in capsys.readouterr().out
