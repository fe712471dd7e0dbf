"""Which charts there are, and whose curve is which."""

import pytest

from ssl_swin.record.lines import append_line
from ssl_swin.record.page.curves import NUM_COLOURS, charts, measure_and_part
from ssl_swin.record.page.write import read_stories
from ssl_swin.record.run_folder import RunFolder


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


@pytest.mark.parametrize(
    ("task", "points", "charted", "axis"),
    [
        (
            "multi-label",
            {"map": 61.0, "macro_f1": 50.0, "best_map": 61.0},
            ["mAP", "Macro F1"],
            "b",
        ),
        ("regression", {"mae": 3, "r2": 0.5, "best_r2": 1}, ["Mean absolute error", "R2"], "e"),
        ("single-label", {"auroc": 0.5, "best_auroc": 0.5}, ["AUROC"], "c"),
    ],
)
def test_each_task_has_charts_of_what_it_measures(make, task, points, charted, axis):
    folder = make.run("a", num_classes=3, finished=False, task=task)
    named = {f"heldout/{name}": value for name, value in points.items()}
    append_line(folder.metrics, {"step": 50, "heldout/heldout_loss": 0.5} | named)
    drawings = charts(read_stories([folder]))
    assert titles(drawings)[1 : 1 + len(charted)] == [f"{one}, held-out" for one in charted]
    assert titles(drawings)[1 + len(charted)] == "Learning rate"  # the best is no curve of its own
    assert drawings[0].chart.axis[0] == axis
    assert all(one.chart.axis != "value, no unit known" for one in drawings)


def test_parts_of_the_network_have_charts_of_their_own(runs):
    point = {"quality/rankme": 20.0, "quality/rankme_stage1": 5.0, "quality/rankme_stage2": 9.0}
    for folder in runs[:2]:
        append_line(folder.metrics, {"step": 50, "quality/knn": 61.5} | point)
    drawings = charts(read_stories(runs))
    assert titles(drawings)[1:5] == [
        *("kNN of frozen features", "RankMe"),
        *("RankMe, stage 1", "RankMe, stage 2"),
    ]
    assert [one.chart.is_detail for one in drawings[:5]] == [False] * 3 + [True] * 2
    assert [line.label for line in drawings[3].lines] == ["seed0", "seed1"]
    alone = charts(read_stories(runs[:1]))
    assert titles(alone)[1:4] == ["kNN of frozen features", "RankMe", "RankMe, by part"]
    assert [(line.label, line.colour) for line in alone[3].lines] == [
        ("stage 1", 0),
        ("stage 2", 1),
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("quality/rankme", ("quality/rankme", "")),
        ("quality/feature_std", ("quality/feature_std", "")),
        ("quality/feature_std_stage12", ("quality/feature_std", "stage 12")),
        ("norm/gradient_stem", ("norm/gradient", "stem")),
        ("norm/update_stage1", ("norm/update", "stage 1")),
    ],
)
def test_a_name_says_what_is_measured_and_of_which_part(name, found):
    assert measure_and_part(name) == found


def test_what_has_no_line_in_the_table_is_drawn_under_its_own_name(runs):
    append_line(runs[1].metrics, {"step": 50, "mine/new": 7.0, "mine/old_stage1": 7.0})
    mine = chart(charts(read_stories(runs)), "mine/new")
    assert mine.chart.axis == "value, no unit known"
    assert "mine/old, stage 1" in titles(charts(read_stories(runs)))


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


def test_a_run_that_waits_does_not_change_the_axis(make):
    waits = RunFolder(make.place / "waits")
    append_line(waits.jobs, {"job": "3"})
    loss = chart(charts(read_stories([make.run("a"), waits])), "Loss")
    assert loss.chart.x_axis == "step"


def test_parts_are_in_the_order_of_the_network(make):
    folder = make.run(steps=10)
    parts = ("decoder", "stage2", "stage10", "stem", "stage1")
    append_line(folder.metrics, {"step": 20} | {f"norm/update_{part}": 1.0 for part in parts})
    found = chart(charts(read_stories([folder])), "Change in a step, by part")
    labels = [line.label for line in found.lines]
    assert labels == ["stem", "stage 1", "stage 2", "stage 10", "decoder"]


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
