"""Runs side by side: what they found and took, and in what they differ."""

from ssl_swin.record.lines import append_line
from ssl_swin.record.page.facts import MOST_ABREAST, environments, results, results_of, settings
from ssl_swin.record.page.write import read_stories
from ssl_swin.record.summary import Summary, write_summary


def test_a_finished_run_tells_what_it_found_and_took(make):
    (story,) = read_stories([make.run(steps=100)])
    told = {name: cell for name, cell in results_of(story).items() if cell}
    assert told == {
        "step": "100",
        "epochs": "10",
        "loss": "0.0100",
        "images/s": "155",
        "memory, GB": "1.1",
        "training time": "60.0 min",
        "CPU-hours": "1.00",
        "lives": "1",
    }


def test_of_a_run_that_goes_on_the_last_points_and_the_plan_are_told(make):
    folder = make.run(steps=40, finished=False)
    append_line(folder.metrics, {"step": 40, "heldout/top1": 61.0, "quality/knn": 55.0})
    (story,) = read_stories([folder])
    told = results_of(story)
    assert (told["step"], told["epochs"]) == ("40 of 100", "4.0 of 10")
    assert (told["loss"], told["top-1, %"], told["kNN, %"]) == ("0.0250", "61.00", "55.00")
    assert told["training time"] == ""


def test_what_a_task_measured_is_told_and_the_best_by_which_it_chose(make):
    folder = make.run("a", steps=40, finished=False, task="regression", num_classes=1)
    append_line(folder.metrics, {"step": 40, "heldout/mae": 12.345, "heldout/r2": 0.5})
    (story,) = read_stories([folder])
    told = {name: cell for name, cell in results_of(story).items() if cell}
    assert (told["MAE"], told["R2"], story.task) == ("12.35", "0.5000", "regression")
    found = {"map": 61.0, "best_map": 70.0, "heldout_loss": 0.5, "best_heldout_loss": 0.25}
    for chosen, heading, cell in (
        ("best_map", "best mAP, %", "70.00"),
        ("best_heldout_loss", "lowest held-out loss", "0.2500"),
    ):
        summary = Summary("finetune", "b", 0, 40, 4.0, 40, 0.1, **found, best_metric=chosen)
        write_summary(folder, summary)
        (story,) = read_stories([folder])
        told = {name: one for name, one in results_of(story).items() if one}
        assert (told["mAP, %"], told["held-out loss"], told[heading]) == ("61.00", "0.5000", cell)
        assert not [one for one in told if one.startswith(("best", "lowest")) and one != heading]


def test_hours_are_at_least_those_of_lives_that_told_theirs(make):
    folder = make.run(steps=100)
    append_line(folder.lives, {"life": 2, "step": 40, "world_size": 2})
    (story,) = read_stories([folder])
    told = results_of(story)
    assert (told["training time"], told["CPU-hours"]) == ("≥ 60.0 min", "≥ 1.00")
    assert told["done again"] == "≥ 37.5 %"  # 60 of 160, and what a killed life did after its save


def test_columns_that_no_run_fills_are_left_out(make):
    table = results(read_stories([make.run("a"), make.run("b", finished=False)]))
    assert "top-1, %" not in table.headings
    assert [(row.name, row.run, row.state) for row in table.rows] == [
        ("a", 0, "finished"),
        ("b", 1, "running"),
    ]


def test_only_settings_that_differ_are_shown(make):
    a, b = make.run("a", seed=0), make.run("b", seed=1, model={"drop": [0.1, None], "on": True})
    table = settings(read_stories([a, b]))
    assert table.headings == ["a", "b"]
    assert {row.name: row.cells for row in table.rows} == {
        "seed": ["0", "1"],
        "model.drop": ["–", "[0.1, null]"],
        "model.on": ["–", "true"],
    }
    assert "did not have the setting" in table.note
    assert settings(read_stories([a])) is None
    assert settings(read_stories([a, make.run("c", seed=0)])) is None


def test_a_run_without_a_readable_config_is_left_out_of_the_settings(make):
    a, b, c = make.run("a", seed=0), make.run("b", seed=1), make.run("c", seed=2)
    c.config.unlink()
    assert settings(read_stories([a, b, c])).headings == ["a", "b"]


def test_of_many_runs_each_is_a_row(make):
    folders = [make.run(f"r{seed}", seed=seed) for seed in range(MOST_ABREAST + 1)]
    table = settings(read_stories(folders))
    assert table.headings == ["seed"]
    assert [(row.name, row.run, row.cells) for row in table.rows[:2]] == [
        ("r0", 0, ["0"]),
        ("r1", 1, ["1"]),
    ]


def test_environments_lie_side_by_side_and_what_is_the_same_is_said_once(make):
    a, b = make.run("a"), make.run("b")
    append_line(a.lives, {"life": 2, "step": 0, "world_size": 1, "environment": {"torch": "2.11"}})
    table = environments(read_stories([a, b]))
    assert {row.name: row.cells for row in table.rows} == {"torch": ["2.11", "–"]}
    assert table.note == "The same in all: processes 1."
    (alone,) = environments(read_stories([b])).rows
    assert (alone.name, alone.cells) == ("processes", ["1"])
    b.lives.write_text("")
    assert environments(read_stories([b])) is None
