"""Which charts there are, and whose curve is which."""

import pytest

from ssl_swin.record.lines import append_line
from ssl_swin.record.page.curves import NUM_COLOURS, charts
from ssl_swin.record.page.write import read_stories


def titles(drawings):
    return [drawing.chart.title for drawing in drawings]


def chart(drawings, title):
    (found,) = [drawing for drawing in drawings if drawing.chart.title == title]
    return found


@pytest.fixture
def runs(make):
    return [make.run(f"seed{seed}", steps=50 * seed + 50, seed=seed) for seed in range(3)]


def test_runs_lie_over_one_another_in_each_chart_with_names_and_units(runs):
    drawings = charts(read_stories(runs))
    assert titles(drawings) == ["Loss", "Learning rate", "Speed", "Main memory at its peak"]
    for drawing in drawings:
        assert [line.label for line in drawing.lines] == ["seed0", "seed1", "seed2"]
        assert [line.colour for line in drawing.lines] == [0, 1, 2]
        assert drawing.chart.axis
        assert drawing.chart.x_axis == "step"
        assert drawing.x_range == (10, 150)


def test_held_out_and_training_loss_are_one_chart(runs):
    append_line(runs[0].metrics, {"step": 50, "heldout/heldout_loss": 0.4})
    loss = chart(charts(read_stories(runs)), "Loss")
    assert [line.label for line in loss.lines] == [
        "seed0, training",
        "seed0, held-out",
        "seed1",
        "seed2",
    ]
    assert [bool(line.dots) for line in loss.lines] == [False, True, False, False]
    alone = chart(charts(read_stories(runs[:1])), "Loss")
    assert [line.label for line in alone.lines] == ["training", "held-out"]
    assert alone.lines[0].colour != alone.lines[1].colour


def test_stages_have_a_chart_of_their_own_beside_the_last_features(runs):
    point = {"quality/rankme": 20.0, "quality/rankme_stage1": 5.0, "quality/rankme_stage2": 9.0}
    append_line(runs[0].metrics, {"step": 50, "quality/knn": 61.5} | point)
    drawings = charts(read_stories(runs))
    assert titles(drawings)[1:4] == ["kNN of frozen features", "RankMe", "RankMe, by stage"]
    stages = chart(drawings, "RankMe, by stage")
    assert [(line.label, line.dash) for line in stages.lines] == [
        ("seed0, stage 1", 0),
        ("seed0, stage 2", 1),
    ]


def test_what_has_no_line_in_the_table_is_drawn_under_its_own_name(runs):
    append_line(runs[1].metrics, {"step": 50, "mine/new": 7.0})
    mine = chart(charts(read_stories(runs)), "mine/new")
    assert mine.chart.axis == "value, no unit known"


def test_trouble_is_drawn_only_if_there_was_some(runs):
    append_line(runs[0].metrics, {"step": 50, "train/bad_steps": 0, "data/bad_samples": 3})
    drawings = charts(read_stories(runs))
    assert "Bad steps" not in titles(drawings)
    assert "Broken images" in titles(drawings)


def test_runs_of_different_batches_are_drawn_over_images(make):
    small, large = make.run("small"), make.run("large", training={"global_batch_size": 64})
    loss = chart(charts(read_stories([small, large])), "Loss")
    assert loss.chart.x_axis == "images trained on"
    assert loss.x_range == (320, 6400)


def test_of_steps_that_were_done_again_the_later_counts(runs):
    append_line(runs[0].metrics, {"step": 50, "train/loss": 5.0})
    loss = chart(charts(read_stories(runs[:1])), "Loss")
    assert loss.lines[0].last == "5"


def test_layers_rates_are_one_curve_the_highest(make):
    folder = make.run(steps=10)
    append_line(folder.metrics, {"step": 20, "lr/layer_0_decay": 1e-5, "lr/layer_3_decay": 0.5})
    assert chart(charts(read_stories([folder])), "Learning rate").lines[0].last == "0.5000"


def test_runs_beyond_the_colours_differ_by_their_dashes(make):
    folders = [make.run(f"run{one:02d}", steps=20) for one in range(NUM_COLOURS + 2)]
    looks = [
        (line.colour % NUM_COLOURS, line.dash) for line in charts(read_stories(folders))[0].lines
    ]
    assert len(set(looks)) == len(folders)


def test_runs_without_points_have_no_charts(make):
    folder = make.run(steps=0, finished=False)
    assert charts(read_stories([folder])) == []
