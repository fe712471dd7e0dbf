import shutil
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import (
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)

from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.board import Board

POINTS = {"train/loss": 0.5, "heldout/heldout_loss": 0.25, "lr/a": 1.0, "lr/b": 0.5}


def log(folder, start_step, *steps):
    board = Board(folder, start_step)
    for step in steps:
        board.log_metrics(POINTS, step)
    board.finalize("success")


def events(place):
    return EventAccumulator(str(place)).Reload()


def text(place, name):
    """The last text under a name."""
    (value,) = events(place).Tensors(f"{name}/text_summary")[-1].tensor_proto.string_val
    return value.decode()


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    config = {"seed": 3, "data": {"val_shards": "v", "mean": [0.5, 0.5]}, "model": {"name": "swin"}}
    folder.config.write_text(yaml.safe_dump(config))
    append_line(folder.lives, {"life": 1, "step": 0, "world_size": 2, "job": "17"})
    append_line(folder.ends, {"life": 1, "step": 4, "reason": "signal SIGTERM", "status": 75})
    append_line(folder.lives, {"life": 2, "step": 4, "world_size": 1, "job": None})
    return folder


def test_one_name_in_two_runs_is_one_chart(folder):
    log(folder, 0, 1, 2)
    assert sorted(path.name for path in folder.root.iterdir() if path.is_dir()) == [
        "held-out",
        "train",
    ]
    train, heldout = events(folder.train), events(folder.heldout)
    assert [point.value for point in train.Scalars("loss")] == [0.5, 0.5]
    assert [point.value for point in heldout.Scalars("loss")] == [0.25, 0.25]
    assert "cross-entropy" in train.SummaryMetadata("loss").summary_description
    rates = {name: train.Scalars(f"optimiser/{name}")[0].value for name in ("lr", "lr_lowest")}
    assert rates == {"lr": 1.0, "lr_lowest": 0.5}


def test_the_config_and_the_lives_are_texts(folder):
    log(folder, 4, 5)
    assert "\n  mean: [0.5, 0.5]\n" in text(folder.train, "config")
    assert text(folder.train, "lives").splitlines()[2:] == [
        "| 1 | 0 | 2 | 17 | 4 | signal SIGTERM |",
        "| 2 | 4 | 1 | - | - | going on when this was written |",
    ]


@pytest.mark.parametrize("measured", [True, False])
def test_runs_are_compared_by_their_settings_where_they_are_measured(folder, measured):
    config = yaml.safe_load(folder.config.read_text())
    config["data"]["val_shards"] = "v" if measured else None
    folder.config.write_text(yaml.safe_dump(config))
    log(folder, 0, 1)
    place, other = (folder.heldout, folder.train) if measured else (folder.train, folder.heldout)
    about = events(place).SummaryMetadata(SESSION_START_INFO_TAG)
    settings = parse_session_start_info_plugin_data(about.plugin_data.content).hparams
    assert settings["seed"].number_value == 3
    assert settings["model.name"].string_value == "swin"
    assert SESSION_START_INFO_TAG not in events(other).Tags()["tensors"]


def test_charts_are_laid_out_when_they_have_a_curve_in_the_order_of_the_table(folder):
    board = Board(folder, 0)
    board.log_metrics({"speed/images_per_s": 9.0}, 1)
    board.log_metrics(POINTS, 1)
    board.log_metrics(POINTS, 2)
    board.finalize("success")
    layouts = events(folder.train).Tensors("custom_scalars__config__")
    assert len(layouts) == 2  # not again without a new chart
    found = [Layout.FromString(one.tensor_proto.string_val[0]).category for one in layouts]
    assert [[group.title for group in layout] for layout in found] == [
        ["Speed"],
        ["Training", "Speed"],
    ]
    rates = found[1][0].chart[1]
    assert (rates.title, list(rates.multiline.tag)) == (
        "learning rates, no unit",
        ["^optimiser/lr$", "^optimiser/lr_of_"],
    )


def test_a_run_that_release_0_1_began_keeps_its_one_curve(folder):
    folder.tensorboard.mkdir()
    (folder.tensorboard / "events.out.tfevents.0000000001.host.1.0").touch()
    log(folder, 2, 3, 4)
    assert not folder.train.exists()
    found = events(folder.tensorboard)
    assert {*POINTS} == {*found.Tags()["scalars"]}
    assert [point.step for point in found.Scalars("train/loss")] == [3, 4]


def test_no_run_folder_is_made_again(folder):
    board = Board(folder, 0)
    shutil.rmtree(folder.root)
    with pytest.raises(FileNotFoundError):
        board.log_metrics(POINTS, 1)
    assert not Path(folder.root).exists()
